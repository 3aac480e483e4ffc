package deploy_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// TestCompose_File reads the compose file as docker compose does, and checks that the services use one image, which is built
// once, and get the time that they need.
func TestCompose_File(t *testing.T) {
	t.Parallel()
	options, err := cli.NewProjectOptions([]string{"../../deploy/compose.yaml"}, cli.WithName("chat"))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var builds, nodes []types.ServiceConfig
	for name, service := range project.Services {
		if service.Build != nil {
			builds = append(builds, service)
		}
		if strings.HasPrefix(name, "node") {
			nodes = append(nodes, service)
		}
	}
	if len(builds) != 1 || len(nodes) != 3 {
		t.Fatalf("%d services build an image, and %d are nodes", len(builds), len(nodes))
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if b := builds[0].Build; b.Context != root || b.Dockerfile != "deploy/Dockerfile" {
		t.Errorf("the image is built from %s, %s", b.Context, b.Dockerfile)
	}
	for _, node := range nodes {
		if node.Image != builds[0].Image || node.PullPolicy == types.PullPolicyAlways {
			t.Errorf("%s uses the image %q, built is %q", node.Name, node.Image, builds[0].Image)
		}
		// What a node waits for has to wait for the build: compose builds before it starts a service.
		if node.DependsOn[builds[0].Name].Condition != types.ServiceConditionCompletedSuccessfully {
			t.Errorf("%s starts before %s has ended", node.Name, builds[0].Name)
		}
		grace := time.Duration(*node.StopGracePeriod)
		drain, err := time.ParseDuration(argument(node.Command, "-drain"))
		if err != nil || grace < drain+5*time.Second {
			t.Errorf("%s drains for %v and is killed after %v; %v", node.Name, drain, grace, err)
		}
		if argument(node.Command, "-listen") != ":3000" || argument(node.Command, "-node") != node.Name {
			t.Errorf("%s runs with %v", node.Name, node.Command)
		}
	}
}

// argument returns the argument after a flag.
func argument(args []string, flag string) string {
	for i, arg := range args[:max(0, len(args)-1)] {
		if arg == flag {
			return args[i+1]
		}
	}
	return ""
}
