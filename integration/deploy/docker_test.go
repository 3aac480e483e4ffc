package deploy_test

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"

	"github.com/pgsocket/socketio/integration/harness"
	"github.com/pgsocket/socketio/pgtest"
)

// TestDockerfile_Context copies what .dockerignore lets through: it is small, and contains all that the programs are made of.
func TestDockerfile_Context(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	file, err := os.Open(filepath.Join(root, ".dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	patterns, err := ignorefile.ReadAll(file)
	if err != nil {
		t.Fatal(err)
	}
	ignored, err := patternmatcher.New(patterns)
	if err != nil {
		t.Fatal(err)
	}
	into, size := t.TempDir(), 0
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		skip, err := ignored.MatchesOrParentMatches(name)
		if err != nil {
			return err
		}
		to := filepath.Join(into, name)
		switch {
		case skip && entry.IsDir():
			return filepath.SkipDir
		case skip || !entry.IsDir() && !entry.Type().IsRegular():
			return nil
		case entry.IsDir():
			return os.MkdirAll(to, 0o755)
		}
		data, err := os.ReadFile(path)
		size += len(data)
		if err != nil {
			return err
		}
		return os.WriteFile(to, data, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	if size > 16<<20 {
		t.Errorf("the context of the build has %d MB", size>>20)
	}
	for dir, program := range programs {
		list := exec.Command("go", "list", "-deps", program)
		list.Dir = filepath.Join(into, strings.TrimPrefix(dir, root))
		if out, err := list.CombinedOutput(); err != nil {
			t.Errorf("%s lacks something: %v\n%s", program, err, out)
		}
	}
}

// docker runs a command of Docker and returns what it prints.
func docker(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command("docker", args...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("docker %s: %v\n%s%s", strings.Join(args, " "), err, out, errs.String())
	}
	return strings.TrimSpace(string(out))
}

// remove removes an image or a container at the end of the test.
func remove(t *testing.T, command, name string) {
	t.Helper()
	t.Cleanup(func() {
		if out, err := exec.Command("docker", command, "-f", name).CombinedOutput(); err != nil {
			t.Errorf("docker %s %s: %v\n%s", command, name, err, out)
		}
	})
}

// TestDocker_Image builds the image, without the network, and runs it as the manifests do: without root and rights, on a file
// system that is read-only. The page and the probes answer; docker stop drains the node, and its client recovers.
func TestDocker_Image(t *testing.T) { //nolint:paralleltest // a build uses all processors
	if out, err := exec.Command("docker", "info").CombinedOutput(); err != nil || runtime.GOOS != "linux" {
		t.Skipf("no Docker engine for Linux answers here, so the image is not built: %v %.200s", err, out)
	}
	dsn, schema := pgtest.Schema(t)
	base := importGo(t)
	image := base + "-chat"
	build := func(name string, args ...string) {
		docker(t, slices.Concat([]string{
			"build", "--network", "none", "--build-arg", "BUILD=" + base, "--build-arg", "BASE=scratch",
			"-f", "../../deploy/Dockerfile", "-t", name,
		}, args, []string{"../.."})...)
		remove(t, "rmi", name)
	}
	build(base+"-build", "--target", "build") // with a name it can be removed; an engine keeps it otherwise
	build(image)

	var config struct {
		User       string
		Entrypoint []string
		Cmd        []string
	}
	if err := json.Unmarshal([]byte(docker(t, "inspect", "-f", "{{json .Config}}", image)), &config); err != nil {
		t.Fatal(err)
	}
	locked := []string{
		"--network", "host", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "-e", "DATABASE_URL=" + dsn,
	}
	once := func(args ...string) string {
		return docker(t, slices.Concat([]string{"run", "--rm"}, locked, args)...)
	}
	once("--entrypoint", "/usr/local/bin/pgsocket", image, "migrate", "up", "--schema", schema)
	once(image, "-migrate", "-schema", schema)

	const name = "in-a-container"
	addr := harness.FreeAddress(t)
	node := docker(t, slices.Concat([]string{"run", "-d"}, locked, []string{image}, config.Cmd, []string{"-node", name, "-listen", addr, "-schema", schema})...)
	remove(t, "rm", node)
	ready := func() bool { return get("http://"+addr+"/readyz") == http.StatusOK }
	if !harness.Eventually(harness.MaxWait, ready) {
		t.Fatal("the container is not ready:\n", logs(t, node))
	}
	for _, path := range []string{"/", "/livez", "/chat.js", "/socket.io/socket.io.js"} {
		if status := get("http://" + addr + path); status != http.StatusOK {
			t.Errorf("%s answers %d", path, status)
		}
	}
	if top := strings.Fields(docker(t, "top", node, "-eo", "pid,uid")); len(top) != 4 || top[3] != "65532" {
		t.Errorf("the processes of the container: %v", top)
	}
	if got := once("--entrypoint", "/usr/local/bin/pgsocket", image, "status", "--json", "--schema", schema); !strings.Contains(got, name) {
		t.Errorf("pgsocket status does not show the node: %s", got)
	}

	cs := harness.NewClients(t, 1)
	cs.Open(1, "http://"+addr, harness.Command{"auth": map[string]string{"name": "Ada"}})
	cs.Await(harness.MaxWait, "connect", cs.AllConnectedLocked)
	docker(t, "stop", node) // SIGTERM, and SIGKILL after 10 s
	if code := docker(t, "inspect", "-f", "{{.State.ExitCode}}", node); code != "0" {
		t.Errorf("the node ended with %s:\n%s", code, logs(t, node))
	}
	if log := logs(t, node); !strings.Contains(log, "server shut down") {
		t.Error("the node did not drain:\n", log)
	}
	docker(t, "start", node)
	cs.Await(harness.MaxWait, "the client returns", func() bool { return cs.ConnectedTimesLocked(2) })
	cs.CheckAllRecovered(1)
}

// logs returns what the program in a container has written.
func logs(t *testing.T, container string) string {
	t.Helper()
	out, err := exec.Command("docker", "logs", container).CombinedOutput()
	if err != nil {
		t.Error(err)
	}
	return string(out)
}

// get returns the status of the answer, 0 for none.
func get(url string) int {
	resp, err := http.Get(url)
	if err != nil {
		return 0
	}
	_ = resp.Body.Close() // the status is enough
	return resp.StatusCode
}
