// Package cli is what the commands share: flags and where their values come from, the
// streams that a command reads and writes, and the exit statuses.
package cli

import (
	"errors"
	"fmt"
	"io"
	"regexp"

	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/redisconn"
)

// Exit statuses, as docs/contract.md promises them.
const (
	ExitNo          = 1 // the answer is no: not found, the audit found breaks, the load test saw faults
	ExitUsage       = 2 // wrong usage or configuration, or Redis does not let us in
	ExitUnreachable = 3 // Redis cannot be reached
)

// A StatusError is that another program failed, which has said why, with its exit status.
type StatusError struct{ Code int }

// Error returns the exit status in words.
func (e StatusError) Error() string { return fmt.Sprintf("exit status %d", e.Code) }

// ExitCode returns the exit status of a program that ended with err.
func ExitCode(err error) int {
	var status StatusError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return status.Code
	case errors.Is(err, usage.Err), errors.Is(err, redisconn.ErrRefused):
		return ExitUsage
	case errors.Is(err, redisconn.ErrUnreachable), redisconn.IsUnavailable(err):
		return ExitUnreachable
	}
	return ExitNo
}

// Streams are what a command reads and writes.
type Streams struct {
	Out, Err io.Writer
	Getenv   func(string) string
	Args     []string // of the command line, without the program's name
}

var credentials = regexp.MustCompile(`(://).*@`)

// withoutSecrets hides what may be the password of a Redis URL: an error about the command
// line quotes it, and a URL may stand in the wrong place.
func withoutSecrets(err error) error {
	text := err.Error()
	if clean := credentials.ReplaceAllString(text, "$1***@"); clean != text {
		return errors.New(clean)
	}
	return err
}
