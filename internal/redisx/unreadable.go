package redisx

import "fmt"

// An UnreadableError says that one of many stored values was left out, because it cannot be read:
// another program wrote it, or it was cut off. The others were read. A package hands it to its
// report function, not to the caller of the read.
type UnreadableError struct {
	Key   string // of Redis
	Entry string // within the key: the id of a stream's entry, the field of a hash; may be empty
	Err   error  // why; may quote the value, so it is not in the text of the error
}

// Error names the key and the entry. It quotes nothing of the value, which may be private.
func (e *UnreadableError) Error() string {
	if e.Entry == "" {
		return fmt.Sprintf("the value of %s cannot be read", e.Key)
	}
	return fmt.Sprintf("the entry %q of %s cannot be read", e.Entry, e.Key)
}

// Unwrap returns why the value cannot be read; nil when that is not known.
func (e *UnreadableError) Unwrap() error { return e.Err }
