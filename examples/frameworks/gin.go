package main

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/pgsocket/socketio"
)

// withGin mounts the server under a wildcard, for every method: clients use GET
// and POST, and browsers send OPTIONS before a request from another origin.
func withGin(server *socketio.Server) http.Handler {
	r := gin.New()
	r.Use(gin.Logger(), gin.Recovery())
	r.Any("/socket.io/*any", gin.WrapH(server))
	r.GET("/hello", func(c *gin.Context) { c.String(http.StatusOK, greeting) })
	return r
}
