package deploy_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"
)

// kubernetes checks objects with the schemas of the API of Kubernetes, which kubeschema has made strict.
type kubernetes struct {
	compiler *jsonschema.Compiler
	kinds    map[string]string
}

func newKubernetes(t *testing.T) *kubernetes {
	t.Helper()
	text, err := os.ReadFile("testdata/kubernetes.json")
	if err != nil {
		t.Fatal(err)
	}
	var document struct{ Kinds map[string]string }
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	schemas, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	k := &kubernetes{jsonschema.NewCompiler(), document.Kinds}
	if err := k.compiler.AddResource("kubernetes.json", schemas); err != nil {
		t.Fatal(err)
	}
	return k
}

// check returns an error if the API refuses the object, or ignores a part of it.
func (k *kubernetes) check(object string) (kind string, err error) {
	var data any
	if err := yaml.UnmarshalStrict([]byte(object), &data); err != nil {
		return "", err // also for a field that is there twice
	}
	var name struct{ APIVersion, Kind string }
	if err := yaml.Unmarshal([]byte(object), &name); err != nil {
		return "", err
	}
	schema, err := k.compiler.Compile("kubernetes.json#/definitions/" + k.kinds[name.APIVersion+" "+name.Kind])
	if err != nil {
		return "", err
	}
	return name.Kind, schema.Validate(data)
}

// manifests returns the objects of the manifests, by their kind. The test fails if the API does not accept all of each.
func manifests(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../../deploy/kubernetes/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no manifests: ", err)
	}
	k := newKubernetes(t)
	found := make(map[string]string)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for object := range strings.SplitSeq(string(text), "\n---\n") {
			kind, err := k.check(object)
			if err != nil {
				t.Errorf("%s: %v", file, err)
			}
			found[kind] = object
		}
	}
	return found
}

// Parts of the objects whose values have to agree.
type (
	selector struct {
		App         string
		MatchLabels struct{ App string }
	}
	container struct {
		Name      string
		Args      []string
		Ports     []struct{ Name string }
		Lifecycle struct {
			PreStop struct{ Sleep struct{ Seconds int } }
		}
		StartupProbe    probe
		LivenessProbe   probe
		ReadinessProbe  probe
		SecurityContext struct {
			AllowPrivilegeEscalation *bool
			ReadOnlyRootFilesystem   bool
			Capabilities             struct{ Drop []string }
		}
	}
	probe struct{ HTTPGet struct{ Port string } }
	pods  struct {
		Metadata struct{ Labels struct{ App string } }
		Spec     struct {
			InitContainers, Containers    []container
			TerminationGracePeriodSeconds int
			SecurityContext               struct {
				RunAsNonRoot bool
				RunAsUser    int
			}
		}
	}
	workload struct {
		Spec struct {
			Replicas int
			Selector selector
			Template pods
		}
	}
	service struct {
		Metadata struct{ Name string }
		Spec     struct {
			Selector selector
			Ports    []struct{ Name, TargetPort string }
		}
	}
	budget struct {
		Spec struct {
			MaxUnavailable int
			Selector       selector
		}
	}
	ingress struct {
		Spec struct {
			Rules []struct {
				HTTP struct {
					Paths []struct {
						Backend struct {
							Service struct {
								Name string
								Port struct{ Name string }
							}
						}
					}
				}
			}
		}
	}
)

// TestKubernetes_Manifests checks the manifests with the schemas of the API, and that what they say of each other agrees.
func TestKubernetes_Manifests(t *testing.T) {
	t.Parallel()
	var (
		deployment, job workload
		svc             service
		pdb             budget
		ing             ingress
	)
	all := manifests(t)
	for kind, value := range map[string]any{
		"Deployment": &deployment, "Job": &job, "Service": &svc, "PodDisruptionBudget": &pdb, "Ingress": &ing,
	} {
		if err := yaml.Unmarshal([]byte(all[kind]), value); err != nil || all[kind] == "" {
			t.Fatalf("%s: %q: %v", kind, all[kind], err)
		}
	}
	pod := deployment.Spec.Template
	app := pod.Metadata.Labels.App
	if app == "" || deployment.Spec.Selector.MatchLabels.App != app || svc.Spec.Selector.App != app || pdb.Spec.Selector.MatchLabels.App != app {
		t.Errorf("the selectors of Deployment, Service and PodDisruptionBudget do not select the pods of %q", app)
	}
	if pdb.Spec.MaxUnavailable < 1 || pdb.Spec.MaxUnavailable >= deployment.Spec.Replicas {
		t.Error("the PodDisruptionBudget permits that all nodes end at once, or none")
	}
	if to := ing.Spec.Rules[0].HTTP.Paths[0].Backend.Service; to.Name != svc.Metadata.Name || to.Port.Name != svc.Spec.Ports[0].Name {
		t.Errorf("the Ingress leads to %v", to)
	}

	node := pod.Spec.Containers[0]
	port := node.Ports[0].Name
	if svc.Spec.Ports[0].TargetPort != port {
		t.Errorf("the Service leads to port %v", svc.Spec.Ports[0].TargetPort)
	}
	for _, p := range []probe{node.StartupProbe, node.LivenessProbe, node.ReadinessProbe} {
		if p.HTTPGet.Port != port {
			t.Errorf("a probe asks port %q", p.HTTPGet.Port)
		}
	}
	drain, err := time.ParseDuration(node.Args[slices.Index(node.Args, "-drain")+1])
	if err != nil {
		t.Fatal(err)
	}
	grace := time.Duration(pod.Spec.TerminationGracePeriodSeconds) * time.Second
	before := time.Duration(node.Lifecycle.PreStop.Sleep.Seconds) * time.Second
	if before <= 0 || drain <= 15*time.Second || grace < before+drain+5*time.Second {
		t.Errorf("grace period %v, preStop %v, drain %v: a poll may be waited for 15 s, and 5 s are left for the rest", grace, before, drain)
	}
	checkRights(t, pod, job.Spec.Template)
}

// checkRights checks that no container has rights that it does not need.
func checkRights(t *testing.T, templates ...pods) {
	t.Helper()
	for _, template := range templates {
		spec := template.Spec
		if !spec.SecurityContext.RunAsNonRoot || spec.SecurityContext.RunAsUser != 65532 {
			t.Errorf("a pod runs as %v", spec.SecurityContext)
		}
		for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
			s := c.SecurityContext
			if s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || !s.ReadOnlyRootFilesystem || !slices.Equal(s.Capabilities.Drop, []string{"ALL"}) {
				t.Errorf("container %s has rights that it does not need: %v", c.Name, s)
			}
		}
	}
}

// TestKubernetes_Schemas_FindMistakes plants mistakes in the manifests.
func TestKubernetes_Schemas_FindMistakes(t *testing.T) {
	t.Parallel()
	deployment, k := manifests(t)["Deployment"], newKubernetes(t)
	for name, mistake := range map[string][2]string{
		"unknown field":         {"terminationGracePeriodSeconds:", "terminationGracePeriod:"},
		"unknown field, nested": {"sleep: { seconds: 5 }", "sleep: { second: 5 }"},
		"other type":            {"replicas: 3", `replicas: "3"`},
		"missing field":         {"topologyKey: kubernetes.io/hostname\n", "\n"},
		"field twice":           {"replicas: 3", "replicas: 3\n  replicas: 4"},
		"unknown kind":          {"kind: Deployment", "kind: Deploiment"},
	} {
		if changed := strings.Replace(deployment, mistake[0], mistake[1], 1); changed == deployment {
			t.Errorf("%s: the manifest does not contain %q", name, mistake[0])
		} else if _, err := k.check(changed); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := k.check(deployment); err != nil {
		t.Error(err)
	}
}
