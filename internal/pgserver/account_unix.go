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

// account is the user a server runs as. The zero account is the one this process runs as.
type account struct {
	name     string
	uid, gid int
}

// unprivileged is the account for a server: ours, unless we are root, which Postgres refuses to run as.
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
	return account{}, errors.New("postgres does not run as root, and there is neither a user postgres nor a user nobody: run this as another user")
}

// apply makes a command run as the account, in a session of its own: a terminal's Ctrl-C is for us, not for the server.
func (a account) apply(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if a.name != "" {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
}

// own gives a file or directory to the account.
func (a account) own(path string) error {
	if a.name == "" {
		return nil
	}
	return os.Chown(path, a.uid, a.gid)
}

// tempDir is where temporary files go: the usual place, if the account may enter it.
func (a account) tempDir() string {
	for _, dir := range []string{os.TempDir(), "/tmp", "/var/tmp"} {
		if a.reaches(dir) {
			return dir
		}
	}
	return os.TempDir()
}

// reaches reports whether the account may enter dir and all that lies above it, as far as it is not ours.
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

// signal takes a process that has gone in the meantime for one that obeyed.
func signal(pid int, sig syscall.Signal) error {
	if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}
