//go:build unix

package pgserver

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is the user of a server. The zero account is the user of this process.
type account struct {
	name     string
	uid, gid int
}

// unprivileged returns the account for a server: that of this process, unless it is root, which Postgres refuses.
func unprivileged() (account, error) {
	if os.Geteuid() != 0 {
		return account{}, nil
	}
	for _, name := range []string{"postgres", "_postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.Atoi(u.Uid)
		gid, gidErr := strconv.Atoi(u.Gid)
		if err := errors.Join(uidErr, gidErr); err != nil {
			return account{}, fmt.Errorf("user %q: %w", name, err)
		}
		return account{name, uid, gid}, nil
	}
	return account{}, errors.New("postgres does not run as root, and neither a user postgres nor a user nobody exists: run this as another user")
}

// apply makes a command run as the account, in a new session, so that Ctrl-C in a terminal does not reach the server.
func (a account) apply(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if a.name != "" {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
}

// own makes the account the owner of a file or directory.
func (a account) own(path string) error {
	if a.name == "" {
		return nil
	}
	return os.Chown(path, a.uid, a.gid)
}

// tempDir returns the directory for temporary files: the usual one, if the account has access to it.
func (a account) tempDir() string {
	for _, dir := range []string{os.TempDir(), "/tmp", "/var/tmp"} {
		if a.reaches(dir) {
			return dir
		}
	}
	return os.TempDir()
}

// reaches reports whether the account has access to dir and its parents.
func (a account) reaches(dir string) bool {
	if a.name == "" {
		return true
	}
	for {
		info, err := os.Stat(dir)
		if err != nil || info.Mode()&0o001 == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
		dir = filepath.Dir(dir)
	}
}

func pause(pid int) error { return signal(pid, syscall.SIGSTOP) }

func unpause(pid int) error { return signal(pid, syscall.SIGCONT) }

// signal sends a signal. It is no error if the process has ended.
func signal(pid int, sig syscall.Signal) error {
	if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}
