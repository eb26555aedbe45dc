//go:build tools

// Package programs names the commands that are built from this module, so that `go mod tidy` keeps
// what they need. It is never compiled.
package programs

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kubectl"
)
