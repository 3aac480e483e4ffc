package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// A color is a parameter of the control sequence SGR (ECMA-48).
type color string

const (
	plain  color = ""
	bold   color = "1"
	dim    color = "2"
	red    color = "31"
	green  color = "32"
	yellow color = "33"
	cyan   color = "36"
)

// A screen is the output of a command.
type screen struct {
	out      *os.File
	terminal bool // it accepts control sequences
	colored  bool
}

// newScreen returns the screen of a file. It has colors if the file is a terminal that is
// not dumb, and NO_COLOR is not set (no-color.org).
func newScreen(f *os.File) *screen {
	terminal := term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
	return &screen{out: f, terminal: terminal, colored: terminal && os.Getenv("NO_COLOR") == ""}
}

// size returns the columns and the lines of the terminal, 0 if they are not known.
func (s *screen) size() (width, height int) {
	width, height, err := term.GetSize(int(s.out.Fd()))
	if err != nil || !s.terminal {
		return 0, 0
	}
	return width, height
}

// paint returns the text in a color, if the screen has colors.
func (s *screen) paint(c color, text string) string {
	if !s.colored || c == plain || text == "" {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

// printable returns the text with control characters escaped: names and payloads come from
// clients, and must not control the terminal.
func printable(text string) string {
	if utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl) {
		return text
	}
	var b strings.Builder
	for _, r := range text { // an invalid byte is U+FFFD
		if unicode.IsControl(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// A cell is a text of a table with its color.
type cell struct {
	text  string
	color color
}

// table writes rows in columns that are as wide as their longest text. It cuts lines that
// are longer than width, if width is not 0.
func (s *screen) table(w io.Writer, width int, rows [][]cell) {
	var widths []int
	for _, row := range rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	for _, row := range rows {
		at := 0
		for i, c := range row {
			text := c.text
			if i < len(row)-1 {
				text += strings.Repeat(" ", widths[i]-utf8.RuneCountInString(text)+3)
			}
			text = cut(text, width, &at)
			trimmed := strings.TrimRight(text, " ")
			_, _ = io.WriteString(w, s.paint(c.color, trimmed)+text[len(trimmed):]) // w is memory
		}
		_, _ = io.WriteString(w, "\n")
	}
}

// cut returns the text without what is beyond the width of a line. At is the column where
// the text begins, and becomes that of the next text.
func cut(text string, width int, at *int) string {
	n := utf8.RuneCountInString(text)
	if width > 0 && *at+n > width {
		n = max(width-*at, 0)
		text = string([]rune(text)[:n])
	}
	*at += n
	return text
}

// writeJSON writes v as one line.
func (s *screen) writeJSON(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = s.out.Write(append(line, '\n'))
	return err
}
