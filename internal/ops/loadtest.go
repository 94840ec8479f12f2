package ops

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/aeturnis/realtime/internal/cli"
)

// Loadtest is the command that runs the program loadtest, which stands beside this one. The
// command stays for one release; it checks the flags, which are the same.
type Loadtest struct {
	cli.LoadtestFlags `embed:""`
}

// Run exits with the status of the program.
func (Loadtest) Run(ctx context.Context, s cli.Streams) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	program := filepath.Join(filepath.Dir(self), "loadtest")
	cmd := exec.CommandContext(ctx, program, s.Args[1:]...)
	cmd.Stdout, cmd.Stderr = s.Out, s.Err
	// It has a process group of its own, so that a Ctrl-C reaches it once, from here.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	err = cmd.Run()
	var ended *exec.ExitError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the load generator is a program of its own since this release, and %s is not there: `make build` builds both", program)
	case errors.As(err, &ended):
		return cli.StatusError{Code: max(1, ended.ExitCode())} // -1 is a signal
	}
	return err
}
