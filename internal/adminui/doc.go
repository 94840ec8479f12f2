// Package adminui serves operators who use Socket.IO's Admin UI (@socket.io/admin-ui): a namespace
// of its own, in which their pages are told what the nodes do and, where that is allowed, have
// connections leave rooms or end.
//
// While operators watch on a node, this node asks all nodes every two seconds (internal/nodecall),
// and tells its operators what has changed. Where nobody watches, nothing runs. At most 1,000
// sockets are shown: of more, a sample that stays the same, which the page is told as the feature
// SAMPLED. Of events that clients sent, the names and sizes of at most 20 a second and node are
// shown, never what they carry; nor is anything of a handshake but the address.
//
// An operator logs in with a name and a password of the users file, and comes back with a session
// that is kept in Redis for a day. Who is taken out of the file, or gets another password, is
// disconnected at the next question.
package adminui
