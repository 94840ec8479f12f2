// Package signedpost sends signed requests to programs of the game, and verifies such signatures.
//
// The header of a request is
//
//	Gateway-Signature: t=<unix seconds>,v1=<hex>[,v1=<hex>…]
//
// where v1 is the HMAC-SHA256 of the time, a dot and the body, once for each secret: while a secret
// is changed, the sender has the old and the new one, and the receiver accepts either.
//
// The Client speaks https, or http with this machine alone. It follows no redirects, uses no proxy,
// does not connect to link-local addresses or where clouds serve credentials, and reads no more of
// an answer than its bound.
package signedpost
