package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Control sequences of terminals (ECMA-48). The cursor is not hidden: to show it again may fail, because
// a terminal drops output when Ctrl-C is pressed.
const (
	clearScreen = "\x1b[2J"
	toTop       = "\x1b[H"
	clearLine   = "\x1b[K" // from the cursor on
	clearBelow  = "\x1b[J"
)

const leastInterval = 100 * time.Millisecond

// watch prints the state again and again until ctx ends: on a terminal in place, otherwise
// one after the other. It returns the error of the first attempt; later ones are printed,
// because Postgres may come back.
func (s *statusPrinter) watch(ctx context.Context, interval time.Duration) error {
	if interval < leastInterval {
		return fmt.Errorf("%w: --interval %v is below %v", errUsage, interval, leastInterval)
	}
	inPlace := s.screen.terminal && !s.json
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for first := true; ; first = false {
		state, err := s.ask(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case first && err != nil:
			return err
		case first && inPlace:
			if _, err := s.screen.out.WriteString(clearScreen); err != nil {
				return err
			}
		case !first && !inPlace && !s.json:
			if _, err := s.screen.out.WriteString("\n"); err != nil {
				return err
			}
		}
		if err := s.show(inPlace, interval, state, err); err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// show prints one state, or the error in place of it.
func (s *statusPrinter) show(inPlace bool, interval time.Duration, state *clusterState, failed error) error {
	if s.json {
		if failed != nil {
			return s.screen.writeJSON(map[string]string{"error": oneLine(failed)})
		}
		return s.screen.writeJSON(state)
	}
	width, height := 0, 0
	if inPlace {
		width, height = s.screen.size()
	}
	var b strings.Builder
	title := fmt.Sprintf("%s, every %v until Ctrl-C", time.Now().Format(time.TimeOnly), interval)
	s.screen.table(&b, width, [][]cell{{{title, dim}}})
	if failed != nil {
		s.screen.table(&b, width, [][]cell{{{oneLine(failed), red}}})
	} else {
		s.write(&b, width, state)
	}
	text := b.String()
	if inPlace {
		text = toTop + strings.ReplaceAll(firstLines(text, height-1), "\n", clearLine+"\n") + clearBelow
	}
	_, err := s.screen.out.WriteString(text)
	return err
}

// firstLines returns at most n lines of a text; the last of them says how many are missing.
func firstLines(text string, n int) string {
	lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
	if n < 1 || len(lines) <= n {
		return text
	}
	return strings.Join(lines[:n-1], "") + fmt.Sprintf("… and %d more lines\n", len(lines)-n+1)
}
