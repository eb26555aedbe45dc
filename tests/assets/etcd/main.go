// The etcd that a kube-apiserver under test keeps its objects in. `go install` refuses etcd's own
// command, whose go.mod has replace lines.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
