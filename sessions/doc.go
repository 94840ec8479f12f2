// Package sessions keeps the logins of users in Redis, for any number of processes. A [Store] reads
// and changes sessions. A [Tracker] follows the sessions of the sockets that are connected to one
// process. [Devices] limits on how many devices a user is connected.
//
// # States of a session
//
//	living    its key exists in Redis. Activity slides it: it moves the expiry to a full TTL from now
//	expired   no activity was stored for its TTL, or AbsoluteExpiresAt has passed
//	ended     Destroy, DestroyUser, Renew or another program deleted it
//
// A session that is expired or ended never lives again. Only Create and Renew write a new session,
// under a new random id. Touch, Extend, UpdateCharacter and UpdateMetadata are scripts on one key
// that act only if the session lives. So once Destroy has returned, nothing brings the session
// back, whatever was under way. A touch never moves the expiry to an earlier time; Extend may.
//
// # Failures
//
//   - [ErrNotFound] means that the session is not living. It never means that Redis did not answer.
//   - [ErrRenewed] means that another call has just given the session a new id.
//   - [ErrExpressSession] refuses what only the site can do that opened the session.
//   - [ErrTooManyDevices] refuses another device of the user.
//   - An INVALID fault (fault.ErrInvalid) names the argument that is wrong.
//   - Any other error comes from Redis: nobody knows what happened to the session.
//
// While Redis does not answer, a Tracker keeps connected sessions alive. It keeps one touch for
// each session and sends it when Redis is back; the TTL then counts from that moment. A session
// that expired in Redis meanwhile stays gone.
//
// # The keys
//
// A session is the hash session:<id>. Other programs may create and delete sessions: only the field
// userId and an expiry of the key are needed. A session without ttlMs takes the remaining time of
// its key as its TTL. A session without absoluteExpiresAt has no absolute lifetime. A session
// without any expiry gets the store's TTL at its first touch. A program that deletes a session
// publishes the end on session:revocations. docs/sessions-from-other-languages.md has the commands.
//
// The index of a user (user:<id>:sessions) and the user's last character are other keys, maybe on
// other servers. They are hints: readers of an index look for each session that it lists, and the
// first touch of a session that is not listed adds it. So every order in which the writes to these
// keys may fail is harmless. CleanupExpired repairs what such failures leave behind, and nothing
// else depends on it.
//
// # The touch promise
//
// Only what a client does is activity: an admitted event, a handshake, an HTTP request. A Tracker
// stores the activity of a session at most once per touch interval, which is min(TTL/10, 15 s),
// however many sockets of the process use the session. It sends the first activity after the
// interval at once (within TrackerConfig.Gather, 10 ms), and it is stored within a second while
// Redis answers. Therefore
//
//	last activity + TTL - interval - 1 s  <=  stored expiry  <=  last stored touch + TTL
//
// or the absolute lifetime, where that ends first. When Run ends, pending touches are sent within a
// second.
//
// # How a connected session ends
//
// When a tenth of the TTL or less is left, the Tracker asks Redis whether another node has slid the
// session, and if not, warns each handle once (Listener.Expiring). At the deadline it asks Redis
// again; while Redis does not answer, the session stays.
//
// A revocation is published on a channel, and appended to a log. The Tracker reads the log from
// where it was: every TrackerConfig.CatchUp, after each new subscription, and when a session is
// gone and no message said why. It begins ten seconds before the end of the log, and looks for that
// end before it subscribes. After each new subscription, and so after every reconnect, it also asks
// Redis for all its sessions. So if the message is lost, sockets are told within the touch interval
// of the store's TTL.
//
// No message ends a session. It has Redis asked, and gives the reason if the session is gone:
// channels are shared by all databases of a server, so a message may be about another database.
//
// A session that another program deletes without a message ends with SESSION_REVOKED: within a
// second where keyspace events are on (notify-keyspace-events Egx), and else within its touch
// interval, because Redis is asked for each session once in that time. A session whose time was
// over ends with SESSION_EXPIRED, also when another program gave its key an earlier expiry: any one
// where keyspace events are on, and else one that is at least a touch interval ahead, so that this
// process has asked for it. A shorter one looks like a deletion there.
//
// A session that is found gone is dead at once (Handle.Alive), but its handles are told up to a
// quarter of a second later, so that a revocation that is on its way can still give the reason.
//
// # Between Get and Open
//
// A gateway calls Store.Get, then Tracker.Open. A session that ends between the two calls ends for
// the new handle too, because the Tracker remembers the revocations of the last ten seconds (1,024
// at most) and applies them to new handles, and because Open touches a session that is new to the
// process, and a touch that finds no session ends it.
package sessions
