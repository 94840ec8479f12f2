// Package usage marks the errors that the caller must mend: a flag, a setting or an argument
// that is wrong. A command that fails with one exits with another status than a command
// whose answer is no.
package usage

import (
	"errors"
	"fmt"
)

// Err is in the chain of every error that this package makes.
var Err = errors.New("wrong usage or configuration")

// markedError is an error that has Err in its chain, without its text.
type markedError struct{ error }

// Unwrap returns the error as it was before it was marked.
func (e markedError) Unwrap() error { return e.error }

// Is reports whether target is Err.
func (e markedError) Is(target error) bool { return target == Err }

// Errorf makes an error as fmt.Errorf does, and marks it.
func Errorf(format string, args ...any) error { return markedError{fmt.Errorf(format, args...)} }

// Wrap marks err. It returns nil when err is nil.
func Wrap(err error) error {
	if err == nil {
		return nil
	}
	return markedError{err}
}
