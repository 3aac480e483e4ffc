package transport

import "strings"

// An extension is an element of Sec-WebSocket-Extensions: a name with parameters.
type extension struct {
	name   string
	params []parameter
}

type parameter struct {
	name  string
	value string
	given bool // whether there is a value
}

// maxList bounds the length of a list in bytes, because an element takes many times the
// memory of its text.
const maxList = 4 << 10

// parseList reads the elements of a header: tokens, separated by commas, each with
// parameters whose values are tokens, possibly in quotes (RFC 6455, 9.1). It reports
// whether the header is a list of at most maxList bytes. Empty elements are omitted.
func parseList(lines []string) ([]extension, bool) {
	var list []extension
	size := 0
	for _, line := range lines {
		if size += len(line); size > maxList {
			return nil, false
		}
		for rest := line; ; {
			rest = trimSpace(rest)
			if rest != "" && rest[0] != ',' {
				var e extension
				var ok bool
				if e, rest, ok = parseElement(rest); !ok {
					return nil, false
				}
				list = append(list, e)
			}
			if rest == "" {
				break
			}
			rest = rest[1:] // a comma
		}
	}
	return list, true
}

// parseElement reads one element, and returns the rest: empty, or beginning with a comma.
func parseElement(s string) (e extension, rest string, ok bool) {
	if e.name, rest = cutToken(s); e.name == "" {
		return e, rest, false
	}

	for rest = trimSpace(rest); strings.HasPrefix(rest, ";"); rest = trimSpace(rest) {
		var p parameter
		if p.name, rest = cutToken(trimSpace(rest[1:])); p.name == "" {
			return e, rest, false
		}
		if value, more := strings.CutPrefix(trimSpace(rest), "="); more {
			p.given = true
			if p.value, rest = cutValue(trimSpace(value)); p.value == "" {
				return e, rest, false
			}
		}
		e.params = append(e.params, p)
	}
	return e, rest, rest == "" || rest[0] == ','
}

// cutValue cuts off a token, possibly in quotes; the value is empty if there is none.
func cutValue(s string) (value, rest string) {
	quoted, ok := strings.CutPrefix(s, `"`)
	if !ok {
		return cutToken(s)
	}
	value, rest = cutToken(quoted)
	if rest, ok = strings.CutPrefix(rest, `"`); !ok {
		return "", rest
	}
	return value, rest
}

func cutToken(s string) (token, rest string) {
	n := 0
	for n < len(s) && isToken(s[n]) {
		n++
	}
	return s[:n], s[n:]
}

// isToken reports whether c may be in a token (RFC 9110, 5.6.2).
func isToken(c byte) bool {
	return 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

func trimSpace(s string) string { return strings.Trim(s, " \t") }

// hasToken reports whether a list in a header has the token. The list may span several
// header lines.
func hasToken(lines []string, token string) bool {
	for _, line := range lines {
		for item := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(trimSpace(item), token) {
				return true
			}
		}
	}
	return false
}
