// Package shape is in a directory whose name cannot begin an identifier.
package shape

// A Post has the name of a type in another package.
type Post struct{ Solid string }
