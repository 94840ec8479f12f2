package throttle

import (
	"errors"
	"fmt"

	"github.com/aeturnis/realtime/internal/clientaddr"
)

// A Subject says who caused an event. A policy needs only the field of its scope.
type Subject struct {
	User, Session, IP, Conn string
	// Roles choose among the rules of a policy.
	Roles []string
}

// SubjectOf returns a subject with one known field: the user id for ByUser, the address for ByIP,
// and so on.
func SubjectOf(scope Scope, id string) Subject {
	switch scope {
	case BySession:
		return Subject{Session: id}
	case ByIP:
		return Subject{IP: id}
	case ByConnection:
		return Subject{Conn: id}
	default:
		return Subject{User: id}
	}
}

// ErrNoSubject is returned when the field that a policy's scope needs is empty or too long. It is a
// mistake of the caller, not a refusal.
var ErrNoSubject = errors.New("throttle: no usable subject")

// identifierFor returns what the policy's scope takes of the subject.
func (s *Subject) identifierFor(p *Policy) (string, error) {
	var v string
	switch p.Scope {
	case ByUser:
		v = s.User
	case BySession:
		v = s.Session
	case ByConnection:
		v = s.Conn
	case ByIP:
		v = clientaddr.Network(s.IP)
	case ByKey:
		v = p.Key(*s)
	case Global:
		v = string(Global)
	}
	if v == "" || len(v) > maxSubject {
		return "", fmt.Errorf("%w: policy %s is by %s", ErrNoSubject, p.Name, p.Scope)
	}
	return v, nil
}
