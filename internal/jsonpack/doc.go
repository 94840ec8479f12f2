// Package jsonpack turns JSON into msgpack and back without building Go values in between: Pack and
// Unpack append to the caller's buffer and allocate nothing else. Both check everything they read,
// so they may be given what a stranger sent.
//
// JSON has no binary values. They lie beside the text, in a list of attachments, and the text holds
// a placeholder for each: {"_placeholder":true,"num":2} stands for the third attachment. In msgpack
// they are binary values in their places.
//
// The rest of the package is what a caller needs to write an envelope around a packed value and to
// read one: AppendText and its like write single msgpack values, ReadHead and SkipPacked walk over
// them, and SkipValue and its like do the same for JSON.
package jsonpack
