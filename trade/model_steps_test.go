package trade_test

// concluding does a step of conclude, and says which is next.
func (m model) concluding(step byte, r rulesOf) (model, byte) {
	if m.fence == 0 { // nothing was ever held
		m.list = 0
		return m, 0
	}
	switch step {
	case 'A':
		return m.closed(0, r), 'B'
	case 'B':
		return m.closed(1, r), 'l'
	case 'l':
		m.ledger = m.ledger || m.status == 'c' // once, by the index
		return m, 'z'
	}
	if m = m.watched(); m.skewed && m.hold == [2]byte{} || m.skewed && !r.clock { // a clock that was read before has said so of all servers
		m.list = 0
	}
	return m, 0
}

// next are all states that one step of anybody leads to.
func (m model) next(r rulesOf) (all []model) {
	add := func(n model) { all = append(all, n) }
	all = append(all, m.time()...)
	for i := range m.holders {
		if m.holders[i].at != 0 {
			n := m
			n.holders[i].at = 0 // it dies, or gives up
			add(n)
			all = append(all, m.works(i, r)...)
		}
		all = append(all, m.arrives(i, r)...)
	}
	switch n := m; m.cancel { // a death of theirs is to take no step more
	case 'w':
		n = n.watched()
		n.cancel = 'x'
		add(n)
	case 'x':
		if n.cancel = 0; n.status == 'o' {
			n.status, n.list = 'x', 0
		}
		add(n)
	}
	if m.offering {
		n := m
		n.offering, n.changed = false, n.changed || n.status == 'o' && !n.expired
		add(n)
	}
	return append(all, m.sweeps(r)...)
}

// time is what comes by itself.
func (m model) time() (all []model) {
	add := func(n model) { all = append(all, n) }
	if !m.expired {
		n := m
		n.expired = true
		add(n)
	}
	if m.fence != 0 && !m.over {
		n := m
		n.over = true
		add(n)
	} else if m.over && !m.skewed && m.arrived() {
		n := m
		n.skewed = true
		add(n)
	}
	waits := false
	for i, h := range m.holders {
		if !h.late && (h.at == 'c' || h.at == 'b' || h.begin) {
			n := m
			n.holders[i].late = true
			add(n)
			waits = true
		}
	}
	// The list's time comes when nobody may begin any more who has watched, whatever the clocks.
	if m.list == 's' && !waits || m.list == 'e' && m.expired {
		n := m
		n.list = 'n'
		add(n)
	}
	return all
}

// arrived tells that no hold is on its way.
func (m model) arrived() bool {
	return m.holders[0].hold == [2]bool{} && m.holders[1].hold == [2]bool{}
}

// works is the next step of a holder.
func (m model) works(i int, r rulesOf) (all []model) {
	add := func(n model) { all = append(all, n) }
	n, mine := m, int8(i+1)
	h := &n.holders[i]
	// The next one has the lock when the lease of the first is over: by then that one has begun, or is
	// too late for it.
	if f := m.holders[0]; i == 1 && (h.at == 'w' || h.at == 'o' && m.claimed < 2) && (f.at == 'c' || f.at == 'b' || f.begin) && !f.late && r.late {
		return nil
	}
	switch h.at {
	case 'w':
		if h.at = 'c'; r.watch {
			n = n.watched()
		}
		add(n)
	case 'c':
		if h.at = 'b'; m.claimed > mine && r.fence {
			h.at = 0
		} else {
			n.claimed = max(mine, m.claimed)
		}
		add(n)
	case 'b':
		done, ok := n.begun(i, r)
		done.holders[i].at = 0
		if ok {
			done.holders[i].at = '0'
		}
		add(done)
		h.begin, h.at = true, 0 // no answer; it may arrive later
		add(n)
	case '0', '1':
		side := int(h.at - '0')
		done, ok, short := n.take(side, r)
		switch {
		case short:
			done = done.watched()
			done.holders[i].at = 'f'
		case !ok:
			done.holders[i].at = 'q'
		default:
			done.holders[i].at = "1d"[side]
		}
		add(done)
		done.holders[i].hold[side] = true // it was sent twice, and one is late
		add(done)
		h.hold[side], h.at = true, 'q' // no answer
		add(n)
	case 'd':
		done := n.end('c', mine)
		if done.holders[i].at = 0; done.final() {
			done.holders[i].at = 'A'
		}
		add(done)
		h.decide, h.at = true, 'q'
		add(n)
	case 'f':
		done := n.end('f', mine)
		if done.holders[i].at = 0; done.final() {
			done.holders[i].at = 'A'
		}
		add(done)
	case 'q': // by force
		done := n.end('f', 0)
		done.holders[i].at = 0
		switch {
		case done.final():
			done.holders[i].at = 'A'
		case i == 1 && m.other:
			done.holders[i].at = 'o'
		}
		add(done)
		h.fail, h.at = true, 0
		add(n)
	case 'o': // claim; and once what was left is ended, the other deal
		if m.claimed < mine {
			n.claimed, n.other = mine, true
			if h.at = 'o'; m.claimed == 1 && r.resolve {
				h.at = 'q'
			}
			add(n)
			break
		}
		n.spent, n.apples[0], n.outdated, h.at = n.apples[0], 0, true, 0
		add(n)
	default:
		n, at := n.concluding(h.at, r)
		if at == 0 && i == 1 && m.other {
			at = 'o'
		}
		n.holders[i].at = at
		add(n)
	}
	return all
}

// arrives is what was on its way.
func (m model) arrives(i int, r rulesOf) (all []model) {
	add := func(n model) { all = append(all, n) }
	h := m.holders[i]
	if h.begin {
		n, _ := m.begun(i, r)
		n.holders[i].begin = false
		add(n)
	}
	for side := range 2 {
		if h.hold[side] {
			n, _, _ := m.take(side, r)
			n.holders[i].hold[side] = false
			add(n)
		}
	}
	if h.decide {
		n := m.end('c', int8(i+1))
		n.holders[i].decide = false
		add(n)
	}
	if h.fail {
		n := m.end('f', 0)
		n.holders[i].fail = false
		add(n)
	}
	return all
}

// sweeps is the sweeper, on any node: it comes to what its list says, by the decision alone.
func (m model) sweeps(r rulesOf) (all []model) {
	add := func(n model) { all = append(all, n) }
	if m.look != 0 { // it puts off what it has read
		n := m
		if n.look = 0; m.look == 'l' || !r.unmoved {
			n.list = 'e'
		}
		add(n)
	}
	if m.list != 'n' {
		return all
	}
	n := m
	switch {
	case m.status == 's' && m.over:
		n.status = 'f'
		add(n)
	case m.status == 's':
	case m.status == 'o' && m.expired:
		n.status = 'e'
		add(n)
	case m.status == 'o':
		n.look = 'l'
		add(n)
	default:
		for step := byte('A'); step != 0; {
			n, step = n.concluding(step, r)
			add(n) // or it dies there
		}
	}
	return all
}
