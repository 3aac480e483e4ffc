//go:build !unix

package pgserver

import (
	"errors"
	"os"
	"os/exec"
)

// account is the user of a server. On this system a server cannot be run.
type account struct{ name string }

var errNotUnix = errors.New("a private server is started on Unix only: set DATABASE_URL")

func unprivileged() (account, error) { return account{}, errNotUnix }

func (account) apply(*exec.Cmd) {}

func (account) own(string) error { return errNotUnix }

func (account) tempDir() string { return os.TempDir() }

func (account) reaches(string) bool { return true }

func pause(int) error { return errNotUnix }

func unpause(int) error { return errNotUnix }
