package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// repository is a bare clone, with an index for the one work tree that it serves. The
// work tree itself holds no trace of git.
type repository struct {
	dir      string
	index    string
	workTree string
}

// clone clones the repository at source, a path or URL, into dir.
func clone(ctx context.Context, source, dir string) (*repository, error) {
	r := &repository{
		dir:      filepath.Join(dir, "repository.git"),
		index:    filepath.Join(dir, "index"),
		workTree: filepath.Join(dir, "source"),
	}
	if err := os.Mkdir(r.workTree, 0o755); err != nil {
		return nil, err
	}
	if _, err := git(ctx, nil, "clone", "--quiet", "--bare", "--", source, r.dir); err != nil {
		return nil, err
	}
	// The bytes of a blob are checked out as they are, whatever .gitattributes ask for.
	raw := filepath.Join(r.dir, "info", "attributes")
	if err := os.MkdirAll(filepath.Dir(raw), 0o755); err != nil {
		return nil, err
	}
	return r, os.WriteFile(raw, []byte("* -text -ident -filter -working-tree-encoding\n"), 0o644)
}

// line returns the commits of the first-parent line that ends at to, HEAD if empty,
// from from on, or from its beginning; the oldest first.
func (r *repository) line(ctx context.Context, from, to string) ([]string, error) {
	if to == "" {
		to = "HEAD"
	}
	out, err := r.git(ctx, "rev-list", "--first-parent", "--reverse", "--end-of-options", to)
	if err != nil {
		return nil, err
	}
	commits := strings.Fields(string(out))
	if from == "" {
		return commits, nil
	}
	out, err = r.git(ctx, "rev-parse", "--verify", "--end-of-options", from+"^{commit}")
	if err != nil {
		return nil, err
	}
	i := slices.Index(commits, strings.TrimSpace(string(out)))
	if i < 0 {
		return nil, fmt.Errorf("%s is not on the first-parent line that ends at %s", from, to)
	}
	return commits[i:], nil
}

// tree returns what commit consists of.
func (r *repository) tree(ctx context.Context, commit string) (tree, error) {
	out, err := r.git(ctx, "ls-tree", "-r", "-z", "--full-tree", commit)
	if err != nil {
		return nil, err
	}
	t := make(tree)
	for line := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if line == "" {
			continue // The empty tree.
		}
		meta, path, _ := strings.Cut(line, "\t")
		f := strings.Fields(meta)
		if len(f) != 3 {
			return nil, fmt.Errorf("git ls-tree: unexpected line %q", line)
		}
		if err := t.add(path, f[0], f[2]); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// checkOut makes the work tree equal commit, touching only what differs from the
// commit before.
func (r *repository) checkOut(ctx context.Context, commit string) error {
	_, err := r.git(ctx, "read-tree", "-u", "--reset", commit)
	return err
}

func (r *repository) git(ctx context.Context, args ...string) ([]byte, error) {
	return git(ctx, []string{"GIT_DIR=" + r.dir, "GIT_INDEX_FILE=" + r.index, "GIT_WORK_TREE=" + r.workTree}, args...)
}

// git runs git with env added to an environment that no configuration of the user or
// the machine gets into, and returns its output.
func git(ctx context.Context, env []string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "GIT_") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Env = append(cmd.Env, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0")
	cmd.Env = append(cmd.Env, env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("git %s: %w: %s", args[0], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}
