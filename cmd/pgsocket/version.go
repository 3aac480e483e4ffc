package main

import (
	"cmp"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/pgsocket/socketio/migrations"
)

// A buildVersion describes this program.
type buildVersion struct {
	Version  string `json:"version"`            // of the module of the command
	Library  string `json:"library"`            // the version of github.com/pgsocket/socketio in it
	Revision string `json:"revision,omitempty"` // of version control, if it was built from a checkout
	Modified bool   `json:"modified,omitempty"` // the checkout had changes
	Time     string `json:"time,omitempty"`     // of the revision
	Go       string `json:"go"`
	Oldest   int    `json:"oldest_schema"` // versions of the schema that it works with
	Latest   int    `json:"latest_schema"`
}

// ownVersion reads what the linker recorded about this program.
func ownVersion() buildVersion {
	v := buildVersion{Version: "(devel)", Library: "(devel)", Oldest: migrations.Oldest, Latest: migrations.Latest}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	v.Version, v.Go = cmp.Or(info.Main.Version, v.Version), info.GoVersion
	for _, m := range info.Deps {
		switch {
		case m.Path != "github.com/pgsocket/socketio":
		case m.Replace != nil: // built in the repository
			v.Library = cmp.Or(m.Replace.Version, v.Version)
		default:
			v.Library = m.Version
		}
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		case "vcs.time":
			v.Time = s.Value
		}
	}
	return v
}

func versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:         "version",
		Short:       "print the version of this program, and the schema versions that it works with",
		Args:        cobra.NoArgs,
		Annotations: map[string]string{offline: ""},
		RunE: func(*cobra.Command, []string) error {
			v := ownVersion()
			if asJSON {
				return newScreen(os.Stdout).writeJSON(v)
			}
			return v.print()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print an object in JSON")
	return cmd
}

func (v buildVersion) print() error {
	text := fmt.Sprintf("pgsocket %s\nlibrary  %s\n", v.Version, v.Library)
	if v.Revision != "" {
		changed := ""
		if v.Modified {
			changed = ", with changes"
		}
		text += fmt.Sprintf("revision %s of %s%s\n", v.Revision, v.Time, changed)
	}
	_, err := fmt.Printf("%sgo       %s\nschema   works with %d to %d\n", text, v.Go, v.Oldest, v.Latest)
	return err
}
