// Command bench compares the server with what the machine allows: each figure has a reference that is measured in the
// same run, alternating with it, and the result is their ratio.
//
//	make bench                       # all of it, as a table
//	make bench ARGS='-only fanout'   # those with the text in their names
//	make curves                      # how costs grow, as drawings
//	make curves ARGS='-only rooms'   # one of them
//	make profiles                    # where the processor time goes
//	make bench ARGS='-soak 1h'       # instead: light traffic for long, to see whether anything grows
//
// It starts nodes in its own process, on the Postgres of DATABASE_URL, and uses loopback only.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"os/signal"
	"slices"
	"strings"
)

// A comparison is one line of the table.
type comparison struct {
	name string
	what string
	than string // what the reference is
	unit string
	goal string // for the ratio

	// round measures the server and the reference once.
	round func(ctx context.Context, m *machine) (ours, reference float64, err error)
}

func main() {
	rounds := flag.Int("rounds", 3, "measure everything so many `times`; the medians are shown")
	only := flag.String("only", "", "run only what has this `text` in its name")
	drawings := flag.String("curves", "", "measure how costs grow instead, and write drawings and tables to this `directory`")
	upTo := flag.Int("upto", math.MaxInt, "with -curves: leave out larger `sizes`")
	profiles := flag.String("profile", "", "take profiles instead, and write them to this `directory`")
	long := flag.Duration("soak", 0, "instead, run light traffic of all kinds for so `long`, and see whether anything grows")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if flag.NArg() > 0 {
		if err := runSubprocess(ctx, flag.Args()); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", flag.Args(), err)
			os.Exit(1)
		}
		return
	}
	err := inScratch(func(m *machine) error {
		switch {
		case *drawings != "":
			return m.drawCurves(ctx, *drawings, *only, *upTo)
		case *profiles != "":
			return m.profile(ctx, *profiles, *only)
		case *long > 0:
			return m.soaked(ctx, *long)
		}
		return m.compare(ctx, *rounds, *only)
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// inScratch runs do on the Postgres of DATABASE_URL, with a temporary directory.
func inScratch(do func(*machine) error) error {
	m := &machine{dsn: os.Getenv("DATABASE_URL")}
	if m.dsn == "" {
		return errors.New("set DATABASE_URL, or run make bench")
	}
	liftLimit()
	var err error
	if m.scratch, err = os.MkdirTemp("", "bench-"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(m.scratch) }() // a temporary directory: a failure leaves it to the system
	return do(m)
}

// compare measures and prints the table.
func (m *machine) compare(ctx context.Context, rounds int, only string) error {
	fmt.Println("| what | here | beside it | ratio | spread | goal |\n|---|---|---|---|---|---|")
	for _, c := range slices.Concat(deliveries(), logs(), shares(), unicasts(), reconnects(), idles(), handlers()) {
		if !strings.Contains(c.name, only) {
			continue
		}
		figures, err := c.figures(ctx, m, rounds)
		switch {
		case errors.Is(err, errNoShares):
			figures = "not measured: " + errNoShares.Error() + " | | |"
		case errors.Is(err, errNoRedis):
			figures = "not measured: " + errNoRedis.Error() + " | | |"
		case err != nil:
			return fmt.Errorf("%s: %w", c.name, err)
		}
		fmt.Printf("| %s (`%s`) | %s | %s |\n", c.what, c.name, figures, c.goal)
	}
	if len(m.remarks) > 0 {
		fmt.Println("\n" + strings.Join(m.remarks, "\n"))
	}
	return nil
}

// remark adds a line below the table.
func (m *machine) remark(format string, args ...any) {
	m.remarks = append(m.remarks, "- "+fmt.Sprintf(format, args...))
}

// figures measures, and returns the middle columns of the line.
func (c *comparison) figures(ctx context.Context, m *machine, rounds int) (string, error) {
	var ours, references, ratios []float64
	for range rounds {
		our, reference, err := c.round(ctx, m)
		if err != nil {
			return "", err
		}
		ours, references, ratios = append(ours, our), append(references, reference), append(ratios, our/reference)
	}
	return fmt.Sprintf("%s %s | %s: %s %s | %.2f | %.2f–%.2f", number(median(ours)), c.unit,
		c.than, number(median(references)), c.unit, median(ratios), slices.Min(ratios), slices.Max(ratios)), nil
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// number formats a number with three significant digits.
func number(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.2f million", v/1e6)
	case v >= 1e4:
		return fmt.Sprintf("%.0f,000", v/1e3)
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	default:
		return fmt.Sprintf("%.3g", v)
	}
}
