package main

import (
	"io"
	"net/http"
	"time"

	"github.com/rs/cors"

	"github.com/pgsocket/socketio"
)

// netHTTP mounts two servers on one mux, each with its own clients and namespaces,
// below middleware of other packages. A client reaches the
// second with the option path: "/admin/socket.io".
func netHTTP(chat, admin *socketio.Server) http.Handler {
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, greeting) // the client may have disconnected
	})

	mux := http.NewServeMux()
	mux.Handle("/socket.io/", chat)
	mux.Handle("/admin/socket.io/", admin)
	mux.Handle("GET /hello", http.TimeoutHandler(hello, 5*time.Second, "late")) // around ordinary routes only

	// Pages of these origins may connect, over both transports. Without other
	// handlers to protect, Options.Origins does the same.
	origins := cors.New(cors.Options{
		AllowedOrigins:   []string{"https://app.example.com"},
		AllowedMethods:   []string{http.MethodGet, http.MethodPost},
		AllowCredentials: true,
	})
	return origins.Handler(tagged(mux))
}

// tagged is ordinary middleware. The header that it sets is also in the response to a
// WebSocket request.
func tagged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Served-By", "frameworks")
		next.ServeHTTP(w, r)
	})
}
