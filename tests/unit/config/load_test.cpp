#include "config/load.hpp"

#include "temp_folder.hpp"

#include <sys/stat.h>

#include <gtest/gtest.h>

namespace fallbackd::config {
namespace {

using namespace std::chrono_literals;
using test::TempFolder;

const std::string kHead = "apiVersion: fallbackd.io/v1\n";

std::string workload(const std::string& name, const std::string& match, const std::string& more = "") {
  return "- name: " + name + "\n  match: " + match + "\n  image: r/a:1\n  binary: a@1\n" + more;
}

TEST(Load, EveryKeyArrives) {
  const TempFolder folder;
  const auto file = folder.write("fallbackd.yaml", kHead + R"(
containerd: {socket: /run/c.sock, namespace: moby, resyncInterval: 5s}
cache: {path: /c, keys: /k, threshold: 2, state: /s, revoked: /r, expiryGrace: 7d, requirePie: true, memoryBudget: 64Mi}
launcher: {runDir: /run/f, kubeletPods: /pods, allowHostNetwork: true}
telemetry: {listen: "[::1]:9000", socket: /run/f.sock, logFormat: json, logLevel: debug}
detection: {reprobeInterval: 3s, maxConcurrentProbes: 9, triggers: [dns], stallTimeout: 2s}
workloads:
- name: checkout
  match: {namespace: shop, labels: {app: checkout}, container: main}
  image: r.example.com/shop/checkout:1.8.3
  binary: checkout@1.8.3
  args: [--port=8080, "7"]
  env: {ROLE: fallback, N: 5}
  workingDir: /tmp
  user: {uid: 1000, gid: 1001, groups: [2000, 2001]}
  volumes:
  - {name: settings, type: configMap, mountPath: /etc/app, subPath: a/b}
  - {name: scratch, type: emptyDir, mountPath: /data}
  healthCheck: {args: [check], timeout: 3s}
  readiness: {http: {port: 8080, path: /healthz}, timeout: 9s}
  detection: {triggers: [tls, disk], stallTimeout: 4s, imagePullPolicy: Always}
  handBack: {on: image, grace: 0}
  resources: {memory: 64Mi, cpu: 500m, pids: 100}
  restart: {initialDelay: 1s, maxDelay: 2s, resetAfter: 3s}
  terminationGrace: 4s
- name: defaults
  match: {container: other}
  image: a
  binary: b@2
)");
  const auto loaded = load(file);
  for (const auto& diagnostic : loaded.diagnostics) ADD_FAILURE() << diagnostic.toString();
  ASSERT_NE(loaded.config, nullptr);
  const auto& config = *loaded.config;
  EXPECT_EQ(config.containerd.socket, "/run/c.sock");
  EXPECT_EQ(config.containerd.resyncInterval, 5s);
  EXPECT_EQ(config.cache.threshold, 2U);
  EXPECT_EQ(config.cache.expiryGrace, 168h);
  EXPECT_EQ(config.cache.memoryBudgetBytes, 64U << 20);
  EXPECT_EQ(config.cache.revoked, "/r");
  EXPECT_TRUE(config.launcher.allowHostNetwork);
  EXPECT_EQ(config.telemetry.listen, "[::1]:9000");
  EXPECT_EQ(config.telemetry.logFormat, LogFormat::json);
  EXPECT_EQ(config.detection.maxConcurrentProbes, 9U);
  ASSERT_EQ(config.workloads.size(), 2U);
  const auto& one = config.workloads[0];
  EXPECT_EQ(one.match.namespaceName, "shop");
  EXPECT_EQ(one.match.labels.at("app"), "checkout");
  EXPECT_EQ(one.binary.toString(), "checkout@1.8.3");
  EXPECT_EQ(one.args, (std::vector<std::string>{"--port=8080", "7"}));
  EXPECT_EQ(one.env.at("N"), "5");
  EXPECT_EQ(one.user.groups, (std::vector<gid_t>{2000, 2001}));
  EXPECT_TRUE(one.volumes[0].readOnly);
  EXPECT_FALSE(one.volumes[1].readOnly);
  EXPECT_EQ(std::get<ReadyWhenHttp>(one.readiness.when).path, "/healthz");
  EXPECT_EQ(one.detection.triggers, (CauseSet{Cause::tls, Cause::disk}));
  EXPECT_EQ(one.detection.pullPolicy, PullPolicy::always);
  EXPECT_EQ(one.handBack.on, HandBackOn::image);
  EXPECT_EQ(one.handBack.grace, 0s);
  EXPECT_EQ(one.resources.cpus, 0.5);
  EXPECT_EQ(one.restart.maxDelay, 2s);
  const auto& two = config.workloads[1];
  EXPECT_EQ(two.detection.triggers, CauseSet{Cause::dns}) << "the defaults of the file hold";
  EXPECT_EQ(two.detection.stallTimeout, 2s);
  EXPECT_EQ(two.user.uid, 65532U);
  EXPECT_TRUE(std::holds_alternative<ReadyWhenExec>(two.readiness.when));
}

struct Bad {
  const char* name;
  std::string text;
  std::string at;       // LINE:COLUMN
  std::string message;  // a part of it
};

TEST(Load, EachMistakeIsNamedWithItsPlace) {
  const std::string one = kHead + "workloads:\n" + workload("a", "{container: c}");
  const std::vector<Bad> rows{
      {"malformed", kHead + "cache: {path: [\n", "3:1", "malformed YAML"},
      {"tabs", kHead + "cache:\n\tpath: /a\n", "3:6", "malformed YAML"},
      {"empty", "", "1:1", "is empty"},
      {"two documents", kHead + "---\na: 1\n", "1:1", "several YAML documents"},
      {"a list at the top", "- a\n", "1:1", "must be a mapping, but is a list"},
      {"version missing", "cache: {}\n", "1:1", "\"apiVersion\" is missing"},
      {"other version", "apiVersion: v2\n", "1:13", "\"v2\" is not known"},
      {"unknown key", kHead + "cahce: {}\n", "2:1", "unknown key \"cahce\" (did you mean cache?)"},
      {"unknown inner key", one + "  detection: {stalTimeout: 1s}\n", "7:15", "did you mean stallTimeout?"},
      {"doubled key", kHead + "cache: {}\ncache: {}\n", "3:1", "\"cache\" stands here twice"},
      {"list for mapping", kHead + "cache: [a]\n", "2:8", "cache: must be a mapping, but is a list"},
      {"mapping for text", kHead + "cache: {path: {a: b}}\n", "2:15", "cache.path: must be a text"},
      {"mapping for list", kHead + "workloads: {a: b}\n", "2:12",
       "workloads: must be a list, but is a mapping"},
      {"bad bool", kHead + "cache: {requirePie: yes}\n", "2:21", "must be true or false"},
      {"bad duration", kHead + "cache: {expiryGrace: 5}\n", "2:22", "is not a duration"},
      {"zero duration", kHead + "detection: {stallTimeout: 0s}\n", "2:27", "longer than zero"},
      {"bad number", kHead + "cache: {threshold: 0}\n", "2:20", "from 1 to 16"},
      {"bad bytes", kHead + "cache: {memoryBudget: 5X}\n", "2:23", "amount of bytes"},
      {"relative path", kHead + "cache: {path: a}\n", "2:15", "absolute path"},
      {"bad word", kHead + "telemetry: {logFormat: jsn}\n", "2:24", "did you mean json?"},
      {"bad cause", one + "  detection: {triggers: [timout]}\n", "7:26", "did you mean timeout?"},
      {"no name", kHead + "workloads:\n- match: {container: c}\n  image: a\n  binary: a@1\n", "3:3",
       "\"name\" is missing"},
      {"no container", kHead + "workloads:\n" + workload("a", "{namespace: n}"), "4:10",
       "\"container\" is missing"},
      {"bad name", kHead + "workloads:\n" + workload("A_b", "{container: c}"), "3:9", "Kubernetes accepts"},
      {"no version", kHead + "workloads:\n- {name: a, match: {container: c}, image: a, binary: a}\n", "3:54",
       "names no version"},
      {"root", one + "  user: {uid: 0}\n", "7:15", "must not run as root"},
      {"bad port", one + "  readiness: {tcp: {port: 70000}}\n", "7:27", "from 1 to 65535"},
      {"no port", one + "  readiness: {tcp: {}}\n", "7:20", "\"port\" is missing"},
      {"two ways", one + "  readiness: {tcp: {port: 1}, exec: {}}\n", "7:14", "more than one of"},
      {"path with dots", one + "  volumes: [{name: v, type: secret, mountPath: /a/../b}]\n", "7:48",
       "without . and .."},
      {"over proc", one + "  volumes: [{name: v, type: secret, mountPath: /proc/x}]\n", "7:48",
       "on or below /proc"},
      {"volume without type", one + "  volumes: [{name: v, mountPath: /v}]\n", "7:13", "\"type\" is missing"},
      {"same place twice",
       one + "  volumes: [{name: v, type: secret, mountPath: /v}, {name: w, type: secret, mountPath: /v}]\n",
       "7:88", "mounted on twice"},
      {"bad cpu", one + "  resources: {cpu: lots}\n", "7:20", "amount of CPUs"},
      {"env name", one + "  env: {a=b: c}\n", "7:8", "must not hold a ="},
      {"null", one + "  image:\n", "7:3", "stands here twice"},
      {"merge key", one + "  <<: {image: b}\n", "7:3", "unknown key \"<<\""},
  };
  for (const auto& row : rows) {
    const TempFolder folder;
    const auto file = folder.write("fallbackd.yaml", row.text);
    const auto loaded = load(file);
    EXPECT_EQ(loaded.config, nullptr) << row.name;
    ASSERT_EQ(loaded.diagnostics.size(), 1U)
        << row.name << (loaded.diagnostics.empty() ? "" : loaded.diagnostics.back().toString());
    const auto text = loaded.diagnostics[0].toString();
    EXPECT_TRUE(text.starts_with(file + ":" + row.at + ": ")) << row.name << ": " << text;
    EXPECT_NE(text.find(row.message), std::string::npos) << row.name << ": " << text;
  }
}

TEST(Load, EverythingIsReportedInOneRun) {
  const TempFolder folder;
  const auto file =
      folder.write("fallbackd.yaml", kHead + "cahce: {}\ncache: {threshold: many}\nworkloads:\n" +
                                         workload("a", "{namespace: n, container: c}") +
                                         workload("b", "{labels: {x: y}, container: c}"));
  folder.write("conf.d/10.yaml", "apiVersion: [\n");
  folder.write("conf.d/20.yaml", kHead + "workloads:\n" + workload("a", "{namespace: n, container: d}"));
  folder.write("conf.d/ignored.txt", "{");
  const auto loaded = load(file);
  std::vector<std::string> texts;
  for (const auto& diagnostic : loaded.diagnostics)
    texts.push_back(diagnostic.toString().substr(folder.path().size()));
  ASSERT_EQ(texts.size(), 5U);
  EXPECT_TRUE(texts[0].starts_with("/fallbackd.yaml:2:1: unknown key")) << texts[0];
  EXPECT_TRUE(texts[1].starts_with("/fallbackd.yaml:3:20: cache.threshold:")) << texts[1];
  EXPECT_TRUE(texts[2].starts_with("/fallbackd.yaml:10:10: workload \"b\" can cover the same container"))
      << texts[2];
  EXPECT_TRUE(texts[3].starts_with("/conf.d/10.yaml:2:1: malformed YAML")) << texts[3];
  EXPECT_TRUE(texts[4].starts_with("/conf.d/20.yaml:3:3: workload \"a\" is already defined at")) << texts[4];
}

TEST(Load, OverlapNeedsAPodThatBothWouldCover) {
  const auto problems = [](const std::string& left, const std::string& right) {
    const TempFolder folder;
    const auto file =
        folder.write("f.yaml", kHead + "workloads:\n" + workload("a", left) + workload("b", right));
    return load(file).diagnostics.size();
  };
  EXPECT_EQ(problems("{namespace: n, container: c}", "{namespace: m, container: c}"), 0U);
  EXPECT_EQ(problems("{namespace: n, container: c}", "{namespace: n, container: d}"), 0U);
  EXPECT_EQ(problems("{labels: {app: x}, container: c}", "{labels: {app: y}, container: c}"), 0U);
  EXPECT_EQ(problems("{labels: {app: x}, container: c}", "{labels: {tier: y}, container: c}"), 1U);
  EXPECT_EQ(problems("{namespace: n, container: c}", "{container: c}"), 1U);
}

TEST(Load, FilesThatAreNoFiles) {
  const TempFolder folder;
  EXPECT_NE(load(folder.path() + "/none.yaml").diagnostics.at(0).toString().find("No such file"),
            std::string::npos);
  EXPECT_NE(load(folder.path()).diagnostics.at(0).toString().find("not a regular file"), std::string::npos);
  ASSERT_EQ(::mkfifo((folder.path() + "/fifo.yaml").c_str(), 0600), 0);
  EXPECT_NE(load(folder.path() + "/fifo.yaml").diagnostics.at(0).toString().find("not a regular file"),
            std::string::npos);
  const auto huge = folder.write("huge.yaml", std::string((1 << 20) + 1, '#'));
  EXPECT_NE(load(huge).diagnostics.at(0).toString().find("too_large"), std::string::npos);
  const auto deep = folder.write("deep.yaml", std::string(100000, '['));
  EXPECT_NE(load(deep).diagnostics.at(0).toString().find("malformed YAML"), std::string::npos);
  EXPECT_NE(load(huge, folder.path() + "/nowhere").diagnostics.back().toString().find("nowhere"),
            std::string::npos);
}

TEST(Load, TheShippedExampleIsValid) {
  const auto loaded = load(EXAMPLE_CONFIG);
  for (const auto& diagnostic : loaded.diagnostics) ADD_FAILURE() << diagnostic.toString();
  ASSERT_NE(loaded.config, nullptr);
  EXPECT_FALSE(loaded.config->workloads.empty());
}

}  // namespace
}  // namespace fallbackd::config
