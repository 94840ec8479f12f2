// Package backend serves events by programs of the game, in any language.
//
// A backend is a URL and the events that it serves. For each event the gateway does what it does
// for its own: it keeps the order of the connection, judges the session, the roles and the limits,
// and checks the payload against the backend's schema. Then it sends one signed POST, and the
// answer is the answer of the event, or its refusal. An answer may have casts, which are delivered
// after it.
//
//	POST <url>                     {event, payload, player, connection, idempotencyKey, deadline}
//	200                            {data, casts} or {error: {code, message, …}}
//
// What can go wrong, and what the player is told:
//
//   - The backend can not be reached, or answers 429, 502, 503 or 504: UNAVAILABLE.
//   - It does not answer in time: TIMEOUT. An answer that comes later counts for nothing.
//   - Half of the last ten calls failed in these ways: the breaker opens. All its events are
//     UNAVAILABLE at once, and one call a second tries whether it is back.
//   - As many events wait for it as may wait: UNAVAILABLE at once.
//   - Its answer is none, in any of its fields: BACKEND_ANSWER, and nothing of it is done.
//
// One backend may also judge who connects: see Service.JudgeConnect.
package backend
