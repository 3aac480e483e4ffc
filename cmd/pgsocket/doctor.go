package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pgsocket/socketio/cmd/pgsocket/internal/doctor"
)

func doctorCommand(db *database) *cobra.Command {
	var o doctor.Options
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "check the database, its settings and this address, and print what to do",
		Long: `Check whether nodes can work with the database through this address, and print what to do.

Each check is ok, warn (it works, and something may go wrong later), fail (nodes do not work,
or lose what they promise) or skip (not known). The exit code is 1 if a check failed. Run it
with the address and the role of the nodes, from a machine of a node, while nodes run. It
changes nothing, except that it joins the cluster as a node for a moment.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Window < 0 {
				return fmt.Errorf("%w: --window %v is negative", errUsage, o.Window)
			}
			o.DSN, o.Schema, o.Wait, o.Logger = db.dsn, db.schema, db.waitFor, nodeLogger()
			screen, failed, all := newScreen(os.Stdout), 0, 0
			for f := range doctor.Run(cmd.Context(), o) {
				all++
				if f.Status == doctor.Fail {
					failed++
				}
				if err := screen.finding(f, asJSON); err != nil {
					return err
				}
			}
			if err := cmd.Context().Err(); err != nil {
				return err
			}
			if failed > 0 {
				return fmt.Errorf("%d of %d checks failed", failed, all)
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.ListenDSN, "listen-dsn", "", "the `address` for LISTEN, if the other one is that of a transaction pooler")
	flags.BoolVar(&o.PollOnly, "poll-only", false, "nodes have the option PollOnly")
	flags.DurationVar(&o.Window, "window", 0, "the Recovery.Window of nodes (default that of the sessions)")
	flags.BoolVar(&o.Emitter, "emitter", false, "the role only emits from SQL")
	flags.BoolVar(&asJSON, "json", false, "print objects in JSON, one a line")
	return cmd
}

// finding prints what a check found.
func (s *screen) finding(f doctor.Finding, asJSON bool) error {
	if asJSON {
		return s.writeJSON(f)
	}
	colors := map[doctor.Status]color{doctor.OK: green, doctor.Warn: yellow, doctor.Fail: red, doctor.Skip: dim}
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s  %s\n", s.paint(colors[f.Status], fmt.Sprintf("%-4s", f.Status)), s.paint(bold, fmt.Sprintf("%-13s", f.Check)), oneLineText(f.Fact))
	for _, step := range f.Advice {
		b.WriteString("        → " + printable(step) + "\n")
	}
	_, err := s.out.WriteString(b.String())
	return err
}
