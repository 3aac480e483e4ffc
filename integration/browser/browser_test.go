package browser_test

import (
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"syscall"
	"testing"

	"github.com/pgsocket/socketio/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func TestPages_MissNothing(t *testing.T) {
	t.Parallel()
	d := tell(t, "pages.mjs")
	d.waitFor(t, `node http://\S+ is back`)
}

func TestPages_CountWhatTheyReceive(t *testing.T) {
	t.Parallel()
	tell(t, "tally.mjs")
}

// tell runs a story of visitors at a demo, and fails if that fails.
func tell(t *testing.T, story string) *demo {
	t.Helper()
	dsn, schema := pgtest.Schema(t, pgtest.NameOnly())
	d := startDemo(t, dsn, schema)
	cmd := exec.CommandContext(t.Context(), "node", append([]string{story, chromium(t), t.ArtifactDir()}, d.urls()...)...)
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDemo_LeavesNothingBehind(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			d := startDemo(t, "", "socketio") // with a Postgres of its own
			urls := d.urls()
			for _, url := range urls {
				if err := visit(t, url); err != nil {
					t.Error(err)
				}
			}

			d.stop(t, sig)

			if len(urls) != 3 {
				t.Errorf("%d nodes were announced, want 3", len(urls))
			}
			for _, url := range urls {
				if visit(t, url) == nil {
					t.Errorf("%s still answers", url)
				}
			}
			dsn := regexp.MustCompile(`postgres://[^']+`).FindString(d.text())
			waitUntilUnreachable(t, dsn)
		})
	}
}

// visit asks a node for its page.
func visit(t *testing.T, url string) error {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

// chromium returns the browser to use.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const mac = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
	if _, err := os.Stat(mac); err == nil {
		return mac
	}
	if testing.Short() {
		t.Skip("no Chromium")
	}
	t.Fatal("no Chromium: apt-get install chromium")
	return ""
}
