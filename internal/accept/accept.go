// Package accept reads the header Accept-Encoding.
package accept

import (
	"net/http"
	"strconv"
	"strings"
)

// Encoding reports whether the client accepts a body in the encoding: Accept-Encoding
// has the encoding, or "*", with a weight above zero (RFC 9110, 12.5.3).
func Encoding(h http.Header, encoding string) bool {
	all := false
	for _, line := range h.Values("Accept-Encoding") {
		for item := range strings.SplitSeq(line, ",") {
			name, params, _ := strings.Cut(item, ";")
			switch name = strings.TrimSpace(name); {
			case strings.EqualFold(name, encoding):
				return weight(params) > 0
			case name == "*":
				all = weight(params) > 0
			}
		}
	}
	return all
}

// weight returns the parameter q, or zero if it is invalid.
func weight(params string) float64 {
	for param := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(param, "=")
		if strings.EqualFold(strings.TrimSpace(name), "q") {
			q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				return 0
			}
			return q
		}
	}
	return 1
}
