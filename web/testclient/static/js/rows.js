// A long list of which only the rows in sight exist. All rows are equally high.
import { el, keyed } from './dom.js';

const SPARE = 2; // rows beyond each edge

/**
 * virtualRows shows a list in a scroller. rowHeight() is in pixels, keyOf(item) names an item, build(item) makes its row and refresh(row, item) writes what has changed in it.
 * draw(count, at) draws the rows in sight of a list of count items, at(i) being the i-th from the top, and gives how many rows exist.
 */
export function virtualRows(scroller, { rowHeight, keyOf, build, refresh }) {
  const rows = el('div', { class: 'window', role: 'presentation' });
  const sizer = el('div', { class: 'sizer', role: 'presentation' }, rows);
  scroller.append(sizer);
  let height = 0;
  let top = 0;
  let first = -1;
  let size = -1;
  new ResizeObserver(([entry]) => {
    height = entry.contentRect.height;
    scroller.dispatchEvent(new Event('scroll'));
  }).observe(scroller);
  scroller.addEventListener('scroll', () => { top = scroller.scrollTop; });

  return {
    draw(count, at) {
      const h = rowHeight();
      if (size !== count * h) sizer.style.height = `${size = count * h}px`;
      const start = Math.max(0, Math.min(count, Math.floor(top / h)) - SPARE);
      const end = Math.min(count, Math.ceil((top + height) / h) + SPARE);
      if (first !== start * h) rows.style.translate = `0 ${first = start * h}px`;
      keyed(rows, Array.from({ length: Math.max(0, end - start) }, (_, i) => at(start + i)), keyOf, build, refresh);
      return rows.childElementCount;
    },
    /** reveal scrolls as far as is needed to have the i-th row in sight. */
    reveal(i) {
      const h = rowHeight();
      if (i * h < top) scroller.scrollTop = top = i * h;
      else if ((i + 1) * h > top + height) scroller.scrollTop = top = (i + 1) * h - height;
    },
    toTop() {
      scroller.scrollTop = top = 0;
    },
    get isAtTop() {
      return top <= 1;
    },
    get rowsInSight() {
      return Math.max(1, Math.floor(height / rowHeight()));
    },
  };
}
