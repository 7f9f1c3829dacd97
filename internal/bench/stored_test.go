//go:build bench

package bench

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/lab"
)

func storedFigure() Figure {
	return Figure{
		Name: "stored",
		How: `A fleet's 10,000 virtual hosts (see fleet_test.go: few skeletons, names, addresses and options that differ, a UUID and a token of 128 bits in each)
are pushed once; then the bytes of all of the tenant's keys and values are added up, beside ` + "`tar | zstd -3`" + ` of the same tree.`,
		Measure: measureStored,
	}
}

// InEtcd is how many keys a tenant has, and how many bytes they and their values have.
func (m *Meter) InEtcd(e *lab.Etcd, tenant string) (keys, bytes int) {
	m.Helper()
	resp, err := e.Client(m.T).Get(m.Context(), "/confsyncd/"+tenant+"/", clientv3.WithPrefix())
	m.Must(err)
	for _, kv := range resp.Kvs {
		bytes += len(kv.Key) + len(kv.Value)
	}
	return len(resp.Kvs), bytes
}

// TarZstd is how many bytes "tar | zstd -3" makes of a directory.
func (m *Meter) TarZstd(dir string) float64 {
	m.Helper()
	if _, err := exec.LookPath("zstd"); err != nil {
		m.LeaveOut("There is no zstd.")
	}
	out, err := exec.CommandContext(m.Context(), "sh", "-c", `tar -C "$1" --sort=name -cf - . | zstd -3 | wc -c`, "sh", dir).Output()
	m.Must(err)
	n, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	m.Must(err)
	return n
}

func measureStored(m *Meter) {
	const files = 10_000
	etcd := m.Etcd()
	source := m.Lab(etcd).Host(m.T, "stored", "source")
	m.Must(NewFleet(files, 1).Write(source.Dir))
	source.Must(m.T, "push")
	keys, bytes := m.InEtcd(etcd, "stored")
	floor := m.TarZstd(source.Dir)
	m.Row(Row{
		What: "10,000 similar configuration files: bytes stored in etcd", Target: "≤ 1.15 × tar | zstd -3", Unit: "KB",
		Value: float64(bytes) / 1e3, Floor: floor / 1e3, FloorIs: "tar | zstd -3", Bound: 1.15 * floor / 1e3,
		Note: fmt.Sprintf("%d keys; a SHA-256 of each file, which nothing compresses, is %.0f KB of it", keys, files*32/1e3),
	})
}
