// Kubeschema writes testdata/kubernetes.json: the JSON schemas of the kinds of Kubernetes objects that the manifests contain,
// taken from the OpenAPI document of a version of Kubernetes. It downloads that version's module, 40 MB:
//
//	go run ./deploy/kubeschema >deploy/testdata/kubernetes.json
//
// The schemas are strict: a field that the API does not have is an error.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const version = "v1.32.4"

// kinds are the definitions in the document, by what a manifest says of itself.
var kinds = map[string]string{ //nolint:gochecknoglobals // a table
	"apps/v1 Deployment":            "io.k8s.api.apps.v1.Deployment",
	"batch/v1 Job":                  "io.k8s.api.batch.v1.Job",
	"v1 Service":                    "io.k8s.api.core.v1.Service",
	"networking.k8s.io/v1 Ingress":  "io.k8s.api.networking.v1.Ingress",
	"policy/v1 PodDisruptionBudget": "io.k8s.api.policy.v1.PodDisruptionBudget",
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "kubeschema:", err)
		os.Exit(1)
	}
}

func run() error {
	out, err := exec.Command("go", "mod", "download", "-json", "k8s.io/kubernetes@"+version).Output() //nolint:noctx // it is the program
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(module.Dir, "api", "openapi-spec", "swagger.json"))
	if err != nil {
		return err
	}
	var document struct{ Definitions map[string]any }
	if err := json.Unmarshal(text, &document); err != nil {
		return err
	}
	schema := pruned{from: document.Definitions, Definitions: make(map[string]any), Kinds: kinds}
	schema.Comment = "Kubernetes " + version + ", by kubeschema"
	for _, name := range kinds {
		schema.add(name)
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(schema); err != nil {
		return err
	}
	_, err = os.Stdout.Write(b.Bytes())
	return err
}

// pruned contains the definitions that the kinds need.
type pruned struct {
	Comment     string            `json:"$comment"`
	Kinds       map[string]string `json:"kinds"`
	Definitions map[string]any    `json:"definitions"`
	from        map[string]any
}

func (p *pruned) add(name string) {
	if p.Definitions[name] != nil {
		return
	}
	switch name {
	case "io.k8s.apimachinery.pkg.util.intstr.IntOrString", "io.k8s.apimachinery.pkg.api.resource.Quantity":
		p.Definitions[name] = map[string]any{"type": []string{"string", "number"}} // the document has only string
		return
	}
	p.Definitions[name] = true // in progress
	p.Definitions[name] = p.strict(p.from[name])
}

// strict returns a schema without descriptions and without fields beside its properties.
func (p *pruned) strict(schema any) any {
	from, ok := schema.(map[string]any)
	if !ok {
		return schema
	}
	to := make(map[string]any)
	for key, value := range from {
		switch key {
		case "$ref":
			ref, _ := value.(string)
			p.add(strings.TrimPrefix(ref, "#/definitions/"))
			to[key] = value
		case "type", "required", "format", "enum":
			to[key] = value
		case "items", "additionalProperties":
			to[key] = p.strict(value)
		case "properties":
			properties := make(map[string]any)
			fields, _ := value.(map[string]any)
			for name, field := range fields {
				properties[name] = p.strict(field)
			}
			to[key], to["additionalProperties"] = properties, false
		}
	}
	return to
}
