package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/confsyncd/confsyncd/internal/config"
	"github.com/confsyncd/confsyncd/internal/logging"
	"github.com/confsyncd/confsyncd/internal/store"
)

const defaultConfig = "/etc/confsyncd/confsyncd.toml"

// app is what all commands share: the global flags, and where output goes.
type app struct {
	out, err io.Writer
	flags    *pflag.FlagSet // the global ones

	configPath, endpoints, cacert, cert, key, user string
	prefix, tenant, stateDir, logLevel, logFormat  string
	output                                         string

	// origin names the environment variable that a global flag was taken from.
	origin map[string]string
}

// run runs one command line and returns the exit code.
func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	a := &app{out: out, err: errOut, origin: make(map[string]string)}
	root := a.command()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintf(errOut, "confsyncd: %s\n", visible(err.Error())) // It may quote what others have said.
	}
	return exitCode(err)
}

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "confsyncd",
		Short: "Replicate a directory of configuration files to any number of hosts through etcd",
		Long: `confsyncd replicates a directory of configuration files to any number of hosts
through etcd. A publisher watches the directory and commits each change; an agent
on each host applies it, whole or not at all.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          known,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error {
			return a.environment()
		},
		CompletionOptions:          cobra.CompletionOptions{DisableDefaultCmd: true},
		SuggestionsMinimumDistance: 2,
		DisableFlagsInUseLine:      true,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage("%w; see \"%s --help\"", err, cmd.CommandPath())
	})
	f := root.PersistentFlags()
	f.StringVar(&a.configPath, "config", defaultConfig, "configuration file")
	f.StringVar(&a.endpoints, "endpoints", "", "etcd's URLs, separated by commas (default http://127.0.0.1:2379)")
	f.StringVar(&a.cacert, "cacert", "", "PEM file of the CA that etcd's certificates are checked with")
	f.StringVar(&a.cert, "cert", "", "PEM file of the client certificate")
	f.StringVar(&a.key, "key", "", "PEM file of the client certificate's key")
	f.StringVar(&a.user, "user", "", "etcd user; the password comes from password_file in the configuration")
	f.StringVar(&a.prefix, "prefix", "", "what all keys in etcd begin with (default /confsyncd)")
	f.StringVar(&a.tenant, "tenant", "", "name of the tenant")
	f.StringVar(&a.stateDir, "state-dir", "", "directory for what is remembered (default /var/lib/confsyncd, or $XDG_STATE_HOME/confsyncd)")
	f.StringVar(&a.logLevel, "log-level", "", "trace, debug, info, warn or error")
	f.StringVar(&a.logFormat, "log-format", "", "text, json or auto: text on a terminal")
	f.StringVarP(&a.output, "output", "o", "text", "how facts are printed: text or json")
	a.flags = f
	root.AddCommand(a.publishCommand(), a.agentCommand(), a.pushCommand(), a.pullCommand(), a.statusCommand(),
		a.acceptCommand(), a.checkConfigCommand(), a.versionCommand())
	root.AddCommand(a.pauseCommand(), a.resumeCommand(), a.retryCommand(), a.forgetCommand())
	root.AddCommand(a.rollbackCommand(), a.channelCommand(), a.rolloutCommand(), a.tenantCommand(), a.gcCommand())
	root.AddCommand(a.waitCommand(), a.hostCommand())
	root.AddCommand(a.logCommand(), a.showCommand(), a.diffCommand(), a.lsCommand(), a.catCommand(), a.blameCommand(), a.verifyCommand(),
		a.completionCommand())
	a.addDev(root)
	a.addManual(root)
	a.complete(root)
	root.SetHelpCommand(helpCommand(root))
	return root
}

// environment takes the global flags that were not given from the environment.
func (a *app) environment() error {
	etcdctl := map[string]string{"endpoints": "ETCDCTL_ENDPOINTS", "cacert": "ETCDCTL_CACERT", "cert": "ETCDCTL_CERT", "key": "ETCDCTL_KEY", "user": "ETCDCTL_USER"}
	var err error
	a.flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed {
			return
		}
		for _, name := range []string{"CONFSYNCD_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_")), etcdctl[f.Name]} {
			if value := os.Getenv(name); name != "" && value != "" {
				if setErr := f.Value.Set(value); setErr != nil {
					err = errors.Join(err, usage("%s: %w", name, setErr))
				}
				f.Changed = true
				a.origin[f.Name] = name
				return
			}
		}
	})
	if a.output != "text" && a.output != "json" {
		err = errors.Join(err, usage("-o %s: use text or json", a.output))
	}
	if a.given("tenant") {
		err = errors.Join(err, a.tenantName(a.source("tenant"), a.tenant))
	}
	if strings.Contains(a.user, ":") {
		err = errors.Join(err, usage("--user, CONFSYNCD_USER and ETCDCTL_USER take the name only: put the password into a file, and name that with password_file in %s", a.configPath))
	}
	return err
}

// logger returns the logger for daemons, or for commands that are over soon: they say
// what they did on standard output, and log warnings only unless asked.
func (a *app) logger(c *config.Config, daemon bool) (hclog.Logger, error) {
	level, format := c.Log.Level, c.Log.Format
	if !daemon {
		if !a.given("log-level") {
			level = "warn"
		}
		if !a.given("log-format") {
			format = "text"
		}
	}
	return logging.New(a.err, level, format)
}

// client returns the connection to etcd, which is made when first needed.
func client(c *config.Config, log hclog.Logger) *store.Client {
	return store.NewClient(store.Config{
		Endpoints: c.Etcd.Endpoints, Prefix: c.Etcd.Prefix, CAFile: c.Etcd.CAFile, CertFile: c.Etcd.CertFile, KeyFile: c.Etcd.KeyFile,
		Username: c.Etcd.Username, PasswordFile: c.Etcd.PasswordFile, Log: log,
	})
}
