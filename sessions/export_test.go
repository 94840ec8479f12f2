package sessions

// BanReadsWaiting returns how many callers of FindBan wait for a round trip.
func (s *Store) BanReadsWaiting() int { return s.banReads.Waiting() }
