// Package sessions keeps who is logged in: in Redis, for any number of processes, and in
// this process for those who are connected to it.
//
// # The keys
//
// A session is the hash session:<id>, as contract.md says. Other programs may make and
// delete them: only userId is needed, and the key's own expiry. A session without ttlMs takes
// what is left of its expiry as its TTL; one without absoluteExpiresAt has no absolute lifetime; one
// without any expiry gets the store's TTL at its first touch. Who deletes a session publishes it on
// session:revocations.
//
// # What lives, and what does not
//
//   - Only Create and Renew write a new session, under a new random id. Touch, Extend, UpdateCharacter and
//     UpdateMetadata are scripts on one key that act only where the session lives. So once
//     Destroy has returned, nothing brings that session back, whatever is still under way. Renew copies first
//     and deletes then, and the deletion decides: where there was nothing to delete, the copy goes too.
//   - A session expires TTL after its last stored activity, and at the latest at
//     AbsoluteExpiresAt. A touch never brings the expiry forward; Extend may.
//   - CleanupExpired repairs what failures between the keys left; nothing else depends on it.
//   - A user's index (user:<id>:sessions) and last character are other keys, maybe on other
//     servers. They are hints: whoever reads an index looks for each session, and the first touch of a
//     session that the index lacks adds it. Each order of failure between the keys is harmless.
//
// # The touch promise
//
// Only what a client does is activity: an admitted event, a handshake, an HTTP request. A
// Tracker stores activity at most once per session and interval, min(TTL/10, 15 s) of the session's own
// TTL, however many sockets of this process share the session; the first activity after the interval is sent
// at once (within Gather, 10 ms) and stored within a second while Redis answers. Therefore
//
//	last activity + TTL - interval - 1 s  <=  stored expiry  <=  last touch stored + TTL
//
// or the absolute lifetime, where that comes first: the stored expiry is never early by more
// than the interval and that second. While Redis is gone, touches are kept, one a session, and
// sent when it is back; the TTL then counts from that moment. A session that ran out in Redis meanwhile
// stays gone. When Run ends, what is pending is sent within a second.
//
// # How a connected session ends
//
// A tenth of its TTL before its end each handle is warned (Listener.Expiring), once, after Redis was
// asked whether another node has slid it. An end is told on the channel, and written to the log; the tracker
// reads the log from where it was at each CatchUp, after each new subscription, and when it finds a session gone
// without having heard why. So with the message lost, sockets are told within the touch interval of the store's TTL.
// Other programs that delete a session and tell nobody are found out at the next touch or deadline.
//
// The gateway does Get, then Tracker.Open. A session that is destroyed between the two ends
// all the same, without further care: the tracker remembers the revocations of the last ten
// seconds (1,024 at most) and judges a new handle by them; and Open touches a session that is
// new to this process, and a touch that finds no session ends it. The same touch ends it when the
// revocation's message was lost. After each new subscription, so after every reconnect, the tracker asks
// Redis for all its sessions. At the deadline of an idle session it asks Redis too, for
// another node may have slid it; while Redis does not answer, the session stays.
//
// A session that is found gone is dead at once (Handle.Alive), but its end is told up to a
// quarter of a second later, so that a revocation that is on its way can still say why.
package sessions
