// Package operate has what operators do, for the commands (internal/ops) and the server API
// (internal/serverapi) alike: it finds sessions, shows them and limits without secrets, changes
// limits, and puts together what the nodes answer.
package operate
