package deploy_test

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// importGo makes an image of the Go distribution of this machine and of the modules that the programs need, and returns its
// name. It takes the place of an image from a registry: the build then needs no network, and Docker nothing that it has to pull.
func importGo(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("socketio-test-%08x", rand.Uint32())
	cmd := exec.Command("docker", "import",
		"-c", "ENV PATH=/go/bin GOROOT=/go GOMODCACHE=/mod GOCACHE=/tmp/cache GOPROXY=off GOTOOLCHAIN=local", "-", name)
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	written := writeGo(t, in)
	if err := cmd.Wait(); err != nil || written != nil {
		t.Fatalf("docker import: %v, %v\n%s", written, err, output.String())
	}
	remove(t, "rmi", name)
	return name
}

// writeGo writes the file system of the image, and closes it.
func writeGo(t *testing.T, file io.WriteCloser) error {
	t.Helper()
	defer file.Close()
	image := tar.NewWriter(file)
	if err := image.WriteHeader(&tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}); err != nil {
		return err
	}
	if err := add(image, compiled(t), "tmp", "cache", all); err != nil {
		return err
	}
	root, modules := output(t, ".", "env", "GOROOT"), output(t, ".", "env", "GOMODCACHE")
	for _, dir := range []string{"bin", "lib", "pkg", "src"} {
		if err := add(image, root, "go", dir, all); err != nil {
			return err
		}
	}
	if err := add(image, root, "go", "go.env", all); err != nil {
		return err
	}
	if err := add(image, root, "go", "VERSION", all); err != nil {
		return err
	}
	// What go.mod and go.sum are checked with, and the modules themselves.
	if err := add(image, modules, "mod", "cache/download", func(name string) bool {
		return slices.Contains([]string{".mod", ".info", ".ziphash"}, filepath.Ext(name))
	}); err != nil {
		return err
	}
	var dirs []string
	for dir, program := range programs {
		dirs = append(dirs, strings.Fields(output(t, dir, "list", "-deps", "-f", "{{with .Module}}{{.Dir}}{{end}}", program))...)
	}
	slices.Sort(dirs)
	for _, dir := range slices.Compact(dirs) {
		if module, ok := strings.CutPrefix(dir, modules+"/"); ok { // not one of this tree
			if err := add(image, modules, "mod", module, all); err != nil {
				return err
			}
		}
	}
	return image.Close()
}

// programs are what the image contains, with the directories in which they are built.
var programs = map[string]string{"../..": "./examples/chat", "../../cmd/pgsocket": "."}

// compiled returns the directory of a build cache that contains the packages of the programs, so that the build in the image
// compiles only what differs. It is kept in the tree for the next run: compiling everything takes longer than all else.
func compiled(t *testing.T) string {
	t.Helper()
	tmp, err := filepath.Abs("../../.tmp/image")
	if err != nil {
		t.Fatal(err)
	}
	for dir, program := range programs {
		build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", os.DevNull, program)
		build.Dir = dir
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOCACHE="+filepath.Join(tmp, "cache"))
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", build, err, out)
		}
	}
	return tmp
}

func all(string) bool { return true }

// add writes the regular files of root/name, or that file, which the image has as prefix/name.
func add(image *tar.Writer, root, prefix, name string, want func(string) bool) error {
	return filepath.WalkDir(filepath.Join(root, name), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || !want(path) {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		header, err := tar.FileInfoHeader(info, "")
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		header.Name = prefix + "/" + filepath.ToSlash(relative)
		if err := image.WriteHeader(header); err != nil {
			return err
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		_, err = io.Copy(image, file)
		return err
	})
}

// output returns what a go command prints in a directory.
func output(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out))
}
