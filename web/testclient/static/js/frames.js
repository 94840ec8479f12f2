// Drawing. Events only change what is kept; what is kept is drawn at an animation frame, all of it at once.

const GAP_MS = 100; // between two draws
const BUSY = 2; // more changes of one thing in a gap: nobody reads them all, and the page draws less often,
const SHARE = 100; // so that draws take a hundredth of the time,
const LONGEST_GAP_MS = 1000; // but at least once a second
const UNSEEN_MS = 1000; // a page that nobody sees has no frames

const due = new Set(); // the draws that are asked for
let isWaiting = false;
let drawnAt = -Infinity;
let gapMs = GAP_MS;
let costMs = 0; // of the last draw, with the browser's layout and painting
let changes = 0; // since the last draw
const painted = new MessageChannel(); // its messages come when the frame is painted
painted.port1.onmessage = () => { costMs = performance.now() - drawnAt; };

/** drawLater(draw) makes a function that asks for draw. However often it is asked for, it runs once, at the next frame that may draw. */
export const drawLater = (draw) => () => {
  due.add(draw);
  changes++;
  if (isWaiting) return;
  isWaiting = true;
  const gap = drawnAt + gapMs - performance.now();
  if (gap > 0) setTimeout(awaitFrame, gap);
  else awaitFrame();
};

function awaitFrame() {
  const unseen = setTimeout(drawAll, UNSEEN_MS);
  const frame = requestAnimationFrame(drawAll);
  function drawAll() {
    clearTimeout(unseen);
    cancelAnimationFrame(frame);
    const now = performance.now();
    const isBusy = changes > BUSY * due.size * Math.max(1, (now - drawnAt) / GAP_MS);
    gapMs = isBusy ? Math.min(LONGEST_GAP_MS, Math.max(GAP_MS, SHARE * costMs)) : GAP_MS;
    isWaiting = false;
    changes = 0;
    drawnAt = now;
    const draws = [...due];
    due.clear();
    for (const draw of draws) draw();
    painted.port2.postMessage('');
  }
}
