package deploy_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"
)

// manifests decodes the Kubernetes manifests into the types of their API. A field that the API does not have, or that
// has another type there, fails the test.
func manifests(t *testing.T) map[string]any {
	t.Helper()
	types := map[string]func() any{
		"apps/v1 Deployment":            func() any { return new(appsv1.Deployment) },
		"batch/v1 Job":                  func() any { return new(batchv1.Job) },
		"v1 Service":                    func() any { return new(corev1.Service) },
		"networking.k8s.io/v1 Ingress":  func() any { return new(networkingv1.Ingress) },
		"policy/v1 PodDisruptionBudget": func() any { return new(policyv1.PodDisruptionBudget) },
	}
	files, err := filepath.Glob("../../deploy/kubernetes/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no manifests: ", err)
	}
	found := make(map[string]any)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for part := range strings.SplitSeq(string(text), "\n---\n") {
			var kind struct{ APIVersion, Kind string }
			if err := yaml.Unmarshal([]byte(part), &kind); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			name := kind.APIVersion + " " + kind.Kind
			if types[name] == nil {
				t.Fatalf("%s: unknown %s", file, name)
			}
			value := types[name]()
			if err := yaml.UnmarshalStrict([]byte(part), value); err != nil {
				t.Errorf("%s: %s: %v", file, name, err)
			}
			found[kind.Kind] = value
		}
	}
	return found
}

// TestKubernetes_Manifests checks the manifests against the types of the API, and that what they say of each other agrees.
func TestKubernetes_Manifests(t *testing.T) {
	t.Parallel()
	all := manifests(t)
	deployment, _ := all["Deployment"].(*appsv1.Deployment)
	job, _ := all["Job"].(*batchv1.Job)
	service, _ := all["Service"].(*corev1.Service)
	budget, _ := all["PodDisruptionBudget"].(*policyv1.PodDisruptionBudget)
	ingress, _ := all["Ingress"].(*networkingv1.Ingress)
	if deployment == nil || job == nil || service == nil || budget == nil || ingress == nil {
		t.Fatalf("the manifests contain only %v", all)
	}
	pod := deployment.Spec.Template
	for _, selector := range []map[string]string{
		deployment.Spec.Selector.MatchLabels, service.Spec.Selector, budget.Spec.Selector.MatchLabels,
	} {
		if len(selector) == 0 || selector["app"] != pod.Labels["app"] {
			t.Errorf("selector %v does not select pods with the labels %v", selector, pod.Labels)
		}
	}
	if budget.Spec.MaxUnavailable.IntValue() >= int(*deployment.Spec.Replicas) {
		t.Error("the PodDisruptionBudget permits that all nodes end at once")
	}
	if path := ingress.Spec.Rules[0].HTTP.Paths[0].Backend.Service; path.Name != service.Name || path.Port.Name != service.Spec.Ports[0].Name {
		t.Errorf("the Ingress leads to %v", path)
	}

	node := pod.Spec.Containers[0]
	if service.Spec.Ports[0].TargetPort.String() != node.Ports[0].Name {
		t.Errorf("the Service leads to port %v", service.Spec.Ports[0].TargetPort.String())
	}
	for _, probe := range []*corev1.Probe{node.StartupProbe, node.LivenessProbe, node.ReadinessProbe} {
		if probe.HTTPGet.Port.String() != node.Ports[0].Name {
			t.Errorf("a probe asks port %v", probe.HTTPGet.Port.String())
		}
	}
	drain, err := time.ParseDuration(node.Args[slices.Index(node.Args, "-drain")+1])
	if err != nil {
		t.Fatal(err)
	}
	grace := time.Duration(*pod.Spec.TerminationGracePeriodSeconds) * time.Second
	before := time.Duration(node.Lifecycle.PreStop.Sleep.Seconds) * time.Second
	if drain <= 15*time.Second || grace < before+drain+5*time.Second {
		t.Errorf("grace period %v, preStop %v, drain %v: a poll may be waited for 15 s, and 5 s are left for the rest", grace, before, drain)
	}

	containers := slices.Concat(pod.Spec.Containers, job.Spec.Template.Spec.InitContainers, job.Spec.Template.Spec.Containers)
	for _, c := range containers {
		s := c.SecurityContext
		if *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) {
			t.Errorf("container %s has rights that it does not need: %v", c.Name, s)
		}
	}
	for _, spec := range []corev1.PodSpec{pod.Spec, job.Spec.Template.Spec} {
		if !*spec.SecurityContext.RunAsNonRoot || *spec.SecurityContext.RunAsUser != 65532 {
			t.Errorf("a pod runs as %v", spec.SecurityContext)
		}
	}
}
