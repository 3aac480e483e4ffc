package transport

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// SameHost in Options.Origins allows pages of the host that the request is sent to, on
// any port: browser cookies do not distinguish ports, so that another port is not another
// site.
const SameHost = "same-host"

// fileOrigin is what WebViews and Electron send for a page from a file; browsers send "null".
const fileOrigin = "file://"

// anyOrigin in Options.Origins allows all pages.
const anyOrigin = "*"

// origins decides from which pages browsers may use the server. A browser opens a
// WebSocket to another site without a CORS check, and sends that site's cookies, so the
// server must check the Origin header. It withholds answers to polls from a page of
// another origin unless headers allow it (CORS).
//
// The CORS headers are set here rather than by github.com/rs/cors, which would be a
// dependency of every user of the module, and does not decide on WebSockets.
type origins struct {
	patterns []string // lower case; may include SameHost and anyOrigin
	refused  atomic.Uint64
	notices  sampler
}

// checkOrigins returns an error for the first of Options.Origins that no Origin header can
// match.
func checkOrigins(list []string) error {
	for _, o := range list {
		if o == SameHost || o == anyOrigin || o == "null" || o == fileOrigin {
			continue
		}
		u, err := url.Parse(strings.Replace(o, "://*.", "://", 1))
		if err != nil || u.Scheme == "" || u.Host == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || strings.Contains(u.Host, "*") {
			return fmt.Errorf(`transport options: Origins has %q, must be scheme://host, scheme://host:port, scheme://*.domain, %q, %q, %q or "null"`, o, SameHost, anyOrigin, fileOrigin)
		}
	}
	return nil
}

func newOrigins(list []string) origins {
	patterns := []string{SameHost}
	if list != nil {
		patterns = make([]string, len(list))
		for i, o := range list {
			patterns[i] = strings.ToLower(o)
		}
	}
	return origins{patterns: patterns}
}

// lists reports whether the origin is allowed by name.
func (o *origins) lists(origin string) bool {
	origin = strings.ToLower(origin)
	return slices.ContainsFunc(o.patterns, func(pattern string) bool {
		if scheme, domain, ok := strings.Cut(pattern, "://*."); ok {
			host, found := strings.CutPrefix(origin, scheme+"://")
			return found && len(host) > len(domain)+1 && strings.HasSuffix(host, "."+domain)
		}
		return pattern == origin && pattern != SameHost && pattern != anyOrigin
	})
}

func (o *origins) any() bool { return slices.Contains(o.patterns, anyOrigin) }

// allow reports whether the page that sent the request may use the server. A request
// without an Origin header is not from a page of another site. An outer handler that set
// Access-Control-Allow-Origin has allowed the page.
func (o *origins) allow(header http.Header, r *http.Request) bool {
	origin := r.Header.Get("Origin")
	return origin == "" || header.Get("Access-Control-Allow-Origin") == origin ||
		o.any() || o.names(origin, r)
}

// names reports whether the origin is listed, or of the same host if SameHost is listed.
func (o *origins) names(origin string, r *http.Request) bool {
	return o.lists(origin) || slices.Contains(o.patterns, SameHost) && sameHost(origin, r)
}

// sameHost reports whether the page is of the host that its request was sent to. A proxy
// may have changed the Host header. X-Forwarded-Host and Sec-Fetch-Site can be trusted: a
// page cannot set them for a WebSocket, and otherwise only if the server allows it (CORS).
func sameHost(origin string, r *http.Request) bool {
	if r.Header.Get("Sec-Fetch-Site") == "same-origin" {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil || u.Hostname() == "" {
		return false
	}
	forwarded := strings.SplitN(r.Header.Get("X-Forwarded-Host"), ",", maxForwarded+1) // each proxy may have added a host
	return slices.ContainsFunc(append(forwarded[:min(len(forwarded), maxForwarded)], r.Host), func(host string) bool {
		at, err := url.Parse("//" + trimSpace(host))
		return err == nil && strings.EqualFold(u.Hostname(), at.Hostname())
	})
}

// maxForwarded is how many hosts of X-Forwarded-Host are checked, the client's first.
const maxForwarded = 10

// share sets the CORS headers that allow the page to read the answer, and reports whether
// the request is a preflight. Pages that are allowed by name may send credentials. CORS
// headers of an outer handler are not changed.
func (o *origins) share(header http.Header, r *http.Request) (preflight bool) {
	origin := r.Header.Get("Origin")
	if origin == "" || header.Get("Access-Control-Allow-Origin") != "" {
		return false
	}

	header.Add("Vary", "Origin")
	switch {
	case o.names(origin, r):
		header.Set("Access-Control-Allow-Origin", origin)
		header.Set("Access-Control-Allow-Credentials", "true")
	case o.any():
		header.Set("Access-Control-Allow-Origin", anyOrigin)
	default:
		return false
	}

	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	header.Set("Access-Control-Allow-Methods", "GET, POST")
	if asked := r.Header.Values("Access-Control-Request-Headers"); len(asked) > 0 {
		header.Set("Access-Control-Allow-Headers", strings.Join(asked, ", "))
		header.Add("Vary", "Access-Control-Request-Headers")
	}
	return true
}

// notice counts a request of a page that may not use the server, and logs it: at most once
// a minute as a warning, because the usual cause is a missing origin in the options.
func (o *origins) notice(logger *slog.Logger, r *http.Request, what string) {
	o.refused.Add(1)
	level := slog.LevelDebug
	if o.notices.take(time.Now()) {
		level = slog.LevelWarn
	}
	logger.LogAttrs(r.Context(), level, "origin not among Options.Origins",
		slog.String("origin", r.Header.Get("Origin")), slog.String("host", r.Host), slog.String("consequence", what))
}

// sampler lets one of what would be logged pass per minute.
type sampler struct {
	mu   sync.Mutex
	next time.Time
}

func (s *sampler) take(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()

	if now.Before(s.next) {
		return false
	}
	s.next = now.Add(time.Minute)
	return true
}
