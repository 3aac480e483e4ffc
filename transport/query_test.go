package transport

import (
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestQuery_AsInJavaScript checks for the results of new URLSearchParams(query).
func TestQuery_AsInJavaScript(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]url.Values{
		"a=1;b=2&c=3":     {"a": {"1;b=2"}, "c": {"3"}},
		"a=100%&b=%zz&%":  {"a": {"100%"}, "b": {"%zz"}, "%": {""}},
		"a=%4&b=%41":      {"a": {"%4"}, "b": {"A"}},
		"a=;&;=1":         {"a": {";"}, ";": {"1"}},
		"a+b=c+d%2B;":     {"a b": {"c d+;"}},
		"a=1&a=2&a;":      {"a": {"1", "2"}, "a;": {""}},
		"&&a=1=2&;":       {"a": {"1=2"}, ";": {""}},
		"a=%e2%82%ac;":    {"a": {"€;"}},
		"a=%ff;":          {"a": {"\ufffd;"}},
		"token=%&x=1#y=2": {"token": {"%"}, "x": {"1"}},
		"a=%25zz;%2":      {"a": {"%zz;%2"}},
	} {
		in := &http.Request{URL: &url.URL{Path: "/", RawQuery: query}}
		r, got := readable(in)
		if !maps.EqualFunc(got, want, slices.Equal) || !maps.EqualFunc(r.URL.Query(), want, slices.Equal) {
			t.Errorf("%q: got %v, and %v in the request", query, got, r.URL.Query())
		}
		if in.URL.RawQuery != query {
			t.Errorf("%q: the request of the caller was changed", query)
		}
	}
}

// TestQuery_ManyParameters_AreBounded checks that the parameters of one URL are bounded.
func TestQuery_ManyParameters_AreBounded(t *testing.T) {
	t.Parallel()
	var query strings.Builder
	for i := range 2 * maxParameters {
		query.WriteByte(byte('a' + i%26))
		query.WriteString("=;&")
	}
	got, n := parseQuery(query.String()), 0
	for _, values := range got {
		n += len(values)
	}
	if n != maxParameters {
		t.Errorf("%d parameters", n)
	}
}

// TestParameters_Repeated_LastCounts checks this for each parameter of the protocol, as in the official server.
func TestParameters_Repeated_LastCounts(t *testing.T) {
	t.Parallel()
	server, err := NewServer(&Options{Logger: slog.New(slog.DiscardHandler)}, func(*Session, *http.Request) Receiver { return nil })
	if err != nil {
		t.Fatal(err)
	}
	for query, code := range map[string]int{
		"EIO=4&transport=x&transport=polling":           0,
		"EIO=4&transport=polling&transport=x":           1 + codeUnknownTransport,
		"EIO=3&EIO=4&transport=polling":                 0,
		"EIO=4&EIO=3&transport=polling":                 1 + codeProtocolVersion,
		"EIO=4&transport=polling&sid=x&sid=":            0,
		"EIO=4&transport=polling&sid=&sid=x":            1 + codeUnknownSID,
		"EIO=4&transport=polling;sid=x":                 1 + codeUnknownTransport,
		"EIO=4&transport=polling&a=%&b=;":               0,
		"%45IO=4&transport=%70olling&%74ransport=poll%": 1 + codeUnknownTransport,
	} {
		r, values := readable(httptest.NewRequest(http.MethodGet, "/?"+query, http.NoBody))
		_, _, refused := server.check(r, values, true)
		got := 0
		if refused != nil {
			got = 1 + refused.code
		}
		if got != code {
			t.Errorf("%s: %+v", query, refused)
		}
	}
}

// FuzzQuery checks that a query that net/url accepts is read the same, and any other is read completely and the same
// after it is encoded again.
func FuzzQuery(f *testing.F) {
	for _, q := range []string{"EIO=4&transport=polling", "a=1;b", "a=%", "%41=%zz&+", "a=%ff", "=&;&%%"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, query string) {
		got := parseQuery(query)
		if want, err := url.ParseQuery(query); err == nil && utf8.ValidString(query) && !strings.Contains(query, "#") && !maps.EqualFunc(got, want, func(a, b []string) bool {
			return slices.EqualFunc(a, b, func(x, y string) bool { return x == strings.ToValidUTF8(y, "\ufffd") })
		}) && !hasInvalid(want) {
			t.Fatalf("%q: got %v, net/url %v", query, got, want)
		}
		again, err := url.ParseQuery(got.Encode())
		if err != nil || !maps.EqualFunc(got, again, slices.Equal) {
			t.Fatalf("%q: %v became %v, %v", query, got, again, err)
		}
	})
}

func hasInvalid(values url.Values) bool {
	for name := range values {
		if !utf8.ValidString(name) {
			return true
		}
	}
	return false
}

// FuzzHeaders checks that no header of a request causes a panic or an internal error, and that the server accepts only
// what was offered.
func FuzzHeaders(f *testing.F) {
	f.Add("Upgrade", "websocket", "13", "dGhlIHNhbXBsZSBub25jZQ==", "a, b", "permessage-deflate; client_max_window_bits", "https://a.example")
	f.Add("keep-alive, Upgrade", "h2c, websocket", "12", "", ",", `x; y="z"`, "null")
	f.Fuzz(func(t *testing.T, connection, upgrade, version, key, protocols, extensions, origin string) {
		server, err := NewServer(&Options{Logger: slog.New(slog.DiscardHandler), Origins: []string{SameHost, "https://*.example"}, HTTP: HTTP{PerMessageDeflate: true}}, func(*Session, *http.Request) Receiver { return nil })
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodGet, "/?EIO=4&transport=websocket", http.NoBody)
		for name, value := range map[string]string{
			"Connection": connection, "Upgrade": upgrade, "Sec-Websocket-Version": version, "Sec-Websocket-Key": key,
			"Sec-Websocket-Protocol": protocols, "Sec-Websocket-Extensions": extensions, "Origin": origin,
		} {
			r.Header.Set(name, value)
		}
		if h, refused := readHandshake(r); refused == nil {
			if h.protocol != "" && !strings.Contains(protocols, h.protocol) {
				t.Fatalf("%q of %q", h.protocol, protocols)
			}
			if negotiate(h.extensions) != "" && !strings.Contains(strings.ToLower(extensions), deflateName) {
				t.Fatalf("%q", extensions)
			}
		} else if refused.status < 400 || refused.status >= 500 {
			t.Fatal(refused)
		}
		w := httptest.NewRecorder()
		server.serve(w, r)
		if share := w.Header().Get("Access-Control-Allow-Origin"); share != "" && share != origin {
			t.Fatalf("shared with %q: %q", origin, share)
		}
	})
}
