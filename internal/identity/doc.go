// Package identity says what the id of a user or a character is, and makes display names fit to be
// shown. Each is one function, so that the door, every event and every command judge alike.
//
// An id that is not one is refused: other texts would be another user. A display name is never
// refused, because its user cannot change what the identity provider says: it is cleaned.
package identity
