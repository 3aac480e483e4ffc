package transport

import (
	"net/http"
	"net/url"
	"strings"
)

// maxParameters bounds the parameters of one URL, as net/url does.
const maxParameters = 10_000

// readable returns r with a query that net/url understands, and its parameters. Net/url
// drops a parameter that has a ";" or a "%" without two hexadecimal digits; the official
// server reads both literally (the URL standard, application/x-www-form-urlencoded
// parsing). Hooks and handlers that receive the returned request do, too. A query that
// net/url reads completely is not changed.
func readable(r *http.Request) (*http.Request, url.Values) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err == nil {
		return r, values
	}

	values = parseQuery(r.URL.RawQuery)
	target := *r.URL
	target.RawQuery = values.Encode()
	r = r.WithContext(r.Context())
	r.URL = &target
	return r, values
}

// parseQuery reads a query as browsers and Node do. It accepts any text.
func parseQuery(query string) url.Values {
	values := make(url.Values)
	query, _, _ = strings.Cut(query, "#")
	n := 0
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		if n++; n > maxParameters {
			break
		}
		name, value, _ := strings.Cut(pair, "=")
		name, value = decodeComponent(name), decodeComponent(value)
		values[name] = append(values[name], value)
	}
	return values
}

// decodeComponent decodes "+" and percent encoding, and keeps an invalid "%".
func decodeComponent(s string) string {
	if !strings.ContainsAny(s, "+%") {
		return strings.ToValidUTF8(s, "\ufffd")
	}

	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '+':
			c = ' '
		case c == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			c = fromHex(s[i+1])<<4 | fromHex(s[i+2])
			i += 2
		}
		b = append(b, c)
	}
	return strings.ToValidUTF8(string(b), "\ufffd")
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f'
}

func fromHex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}

// last returns the value of a parameter: the last one if it is repeated, as in the
// official server.
func last(query url.Values, name string) string {
	if values := query[name]; len(values) > 0 {
		return values[len(values)-1]
	}
	return ""
}
