// SPDX-License-Identifier: Apache-2.0
// Every mistake that a configuration can contain, with its position and its message.
#include "config/load.hpp"
#include "config/raw.hpp"

#include <gtest/gtest.h>

namespace fallbackd::config {
namespace {

const std::string kHead = "apiVersion: fallbackd.io/v1\n";
const std::string kList = kHead + "workloads:\n";
// Lines 3 to 6; additions are on line 7, in column 3.
const std::string kOne = kList + "- name: a\n  match: {container: c}\n  image: r/a:1\n  binary: a@1\n";
// For workloads without an image: the pod's specification names it.
const std::string kSources = kHead + "kubernetes: {sources: [apiserver]}\nworkloads:\n";
const std::string kOwn = "- name: a\n  match: {container: c}\n  binary: a@1\n";

struct Mistake {
  const char* name;
  std::string text;
  std::string at;     // LINE:COLUMN
  std::string words;  // part of the message and its suggestion
};

std::vector<std::string> problemsOf(const std::string& text) {
  Config config;
  std::vector<RawWorkload> workloads;
  Problems problems;
  readDocument("f", text, false, config, workloads, problems);
  std::vector<std::string> lines;
  for (const auto& one : problems.take()) lines.push_back(one.toString());
  return lines;
}

void expectEach(const std::vector<Mistake>& mistakes) {
  for (const auto& mistake : mistakes) {
    const auto lines = problemsOf(mistake.text);
    ASSERT_EQ(lines.size(), 1U) << mistake.name << ": " << testing::PrintToString(lines);
    EXPECT_TRUE(lines[0].starts_with("f:" + mistake.at + ": ")) << mistake.name << ": " << lines[0];
    EXPECT_NE(lines[0].find(mistake.words), std::string::npos) << mistake.name << ": " << lines[0];
  }
}

TEST(Mistakes, OfTheSourcesOfPods) {
  const std::string section = kHead + "kubernetes: ";
  expectEach({
      {"unknown source", section + "{sources: [kublet]}\n", "2:24", "did you mean kubelet?"},
      {"named twice", section + "{sources: [kubelet, kubelet]}\n", "2:33", "keep one of them"},
      {"not a list", section + "{sources: kubelet}\n", "2:23", "list"},
      {"unknown key", section + "{source: [kubelet]}\n", "2:14", "did you mean sources?"},
      {"not a bool", section + "{events: maybe}\n", "2:22", "true or false"},
      {"not a list of namespaces", section + "{namespacePause: [shop]}\n", "2:30", "true or false"},
      {"a relative path", section + "{kubeconfig: k}\n", "2:26", "(begin it with /)"},
      {"a name", section + "{kubeletAddress: node-1:10250}\n", "2:30", "write 127.0.0.1:10250"},
  });
}

TEST(Mistakes, OfADrillsName) {
  expectEach({
      {"a drill's name",
       kList + "- name: fallbackd-drill\n  match: {container: c}\n  image: r/a:1\n  binary: a@1\n", "3:9",
       "a different name"},
      {"a binary with it", kList + "- match: {container: c}\n  image: r/a:1\n  binary: fallbackd-drill@1\n",
       "3:3", "a different name"},
  });
}

TEST(Mistakes, OfTheMirror) {
  expectEach({
      {"everybody's address", kHead + "mirror: {listen: 0.0.0.0:9478}\n", "2:18",
       "can be reached from outside"},
      {"the node's address", kHead + "mirror: {listen: 10.0.0.5:9478}\n", "2:18", "an address on loopback"},
      {"every address", kHead + "mirror: {listen: \"[::]:9478\"}\n", "2:18", "can be reached from outside"},
      {"no port", kHead + "mirror: {listen: 127.0.0.1}\n", "2:18", "is not ADDRESS:PORT"},
      {"age", kHead + "mirror: {cached: sometimes}\n", "2:18", "neither always, never nor a duration"},
      {"no age", kHead + "mirror: {cached: 0s}\n", "2:18", "neither always, never nor a duration"},
      {"images with a tag", kHead + "mirror: {images: [r.x/shop:1]}\n", "2:19", "without a tag"},
      {"key", kHead + "mirror: {address: x}\n", "2:10", "unknown key"},
  });
}

TEST(Mistakes, OfTheText) {
  using namespace std::string_literals;
  std::string deep = kHead + "workloads: ";
  for (int i = 0; i < 70; ++i) deep += "[";
  for (int i = 0; i < 70; ++i) deep += "]";
  expectEach({
      {"malformed", kHead + "cache: {path: [\n", "3:1", "malformed YAML"},
      {"tab", kHead + "cache:\n\tpath: /a\n", "3:6", "indent with spaces, not tabs"},
      {"empty", "", "1:1", "is empty (begin with apiVersion"},
      {"comments only", "# nothing\n", "1:1", "is empty"},
      {"a comma where nothing began", "# x\n, a\n", "2:1", "nothing can begin with this"},
      {"two documents", kHead + "---\na: 1\n", "2:1", "a second YAML document"},
      {"two documents by accident", "- a\nb: c\n", "2:1", "check the indentation"},
      {"quote left open", kHead + "cache: {path: \"/a}\nlauncher: {}\n", "2:15", "never closed"},
      {"single quote left open", kHead + "cache: {path: '/it''s}\n", "2:15", "never closed"},
      {"anchor", "apiVersion: &v fallbackd.io/v1\n", "1:13", "anchors (&name) are not supported"},
      {"tag", "apiVersion: !!str fallbackd.io/v1\n", "1:13", "remove the tag"},
      {"merge key", kOne + "  <<: {image: b}\n", "7:3", "merge keys (<<) are not supported"},
      {"latin-1", kHead + "# caf\xe9\n", "2:6", "is not UTF-8"},
      {"UTF-16", "\xff\xfe"s + "a\0:\0"s, "1:1", "is not UTF-8"},
      {"surrogate", "# \xed\xa0\x80\n", "1:3", "is not UTF-8"},
      {"overlong", "# \xc0\xaf\n", "1:3", "is not UTF-8"},
      {"NUL", kHead + "cache: a\0b\n"s, "2:9", "control character"},
      {"escape", kHead + "# \x1b[31m\n", "2:3", "control character"},
      {"NUL in disguise", kHead + "cache: {path: \"/a\\0b\"}\n", "2:15", "must not hold a NUL"},
      {"too deep", deep, "2:75", "more than 64 levels deep"},
      {"columns count characters", kHead + "cache: {path: \"/größe\", paht: /a}\n", "2:25",
       "did you mean path?"},
  });
}

TEST(Mistakes, OfKeysAndKinds) {
  expectEach({
      {"a list at the top", "- a\n", "1:1", "must be a mapping, but is a list"},
      {"version missing", "cache: {}\n", "1:1",
       "\"apiVersion\" is missing (add apiVersion: fallbackd.io/v1)"},
      {"other version", "apiVersion: v2\n", "1:13", "\"v2\" is not known (write fallbackd.io/v1)"},
      {"unknown key", kHead + "cahce: {}\n", "2:1", "unknown key \"cahce\" (did you mean cache?)"},
      {"unlike any", kHead + "zzzzzzzz: {}\n", "2:1", "expected one of apiVersion, containerd"},
      {"unknown inner key", kOne + "  detection: {stalTimeout: 1s}\n", "7:15", "did you mean stallTimeout?"},
      {"twice", kHead + "cache: {}\ncache: {}\n", "3:1", "appears twice, first at f:2:1"},
      {"twice in env", kOne + "  env: {A: 1, A: 2}\n", "7:15", "\"A\" appears twice"},
      {"list for mapping", kHead + "cache: [a]\n", "2:8", "its keys are path, keys"},
      {"nothing for mapping", kHead + "cache:\nlauncher: {}\n", "2:1",
       "but is nothing (give it a value, or remove"},
      {"mapping for text", kHead + "cache: {path: {a: b}}\n", "2:15",
       "cache.path: must be a string, but is a mapping"},
      {"empty text", kHead + "cache: {path: \"\"}\n", "2:15", "must not be empty"},
      {"mapping for list", kHead + "workloads: {a: b}\n", "2:12", "must be a list, but is a mapping"},
      {"text for workload", kList + "- a\n", "3:3", "workloads[0]: must be a mapping"},
      {"a list as key", kHead + "? [a]\n: b\n", "2:3", "must be a plain name, but is a list"},
      {"list in args", kOne + "  args: [a, [b]]\n", "7:13", "args[1]: must be a string"},
  });
}

TEST(Mistakes, OfSettings) {
  expectEach({
      {"bool", kHead + "cache: {requirePie: yes}\n", "2:21",
       "must be true or false, but is \"yes\" (write true)"},
      {"duration", kHead + "cache: {expiryGrace: 5}\n", "2:22", "is not a duration (write 250ms"},
      {"zero duration", kHead + "detection: {stallTimeout: 0s}\n", "2:27", "longer than zero"},
      {"stall timeout of a moment", kHead + "detection: {stallTimeout: 50ms}\n", "2:27", "200ms or more"},
      {"answers sooner than connections", kHead + "detection: {stallTimeout: 2s, responseTimeout: 1s}\n",
       "2:48", "write 2s or more"},
      {"start timeout of a moment", kHead + "detection: {startTimeout: 50ms}\n", "2:27", "500ms or more"},
      {"probes without a pause", kHead + "detection: {reprobeInterval: 1ms}\n", "2:30", "100ms or more"},
      {"endless duration", kHead + "detection: {stallTimeout: 100000d}\n", "2:27", "longer than 3650d"},
      {"number", kHead + "cache: {threshold: 0}\n", "2:20", "from 1 to 16"},
      {"number with more", kHead + "cache: {threshold: 1x}\n", "2:20", "from 1 to 16"},
      {"bytes", kHead + "cache: {memoryBudget: 5X}\n", "2:23", "number of bytes (write 67108864, 64Mi"},
      {"a rollback upwards", kHead + "cache: {rollbacks: [{binary: a@1.8, rollbackTo: 1.9}]}\n", "2:49",
       "1.9 is not below 1.8"},
      {"a rollback of no version", kHead + "cache: {rollbacks: [{binary: a, rollbackTo: 1.8}]}\n", "2:30",
       "NAME@VERSION"},
      {"a rollback to no version", kHead + "cache: {rollbacks: [{binary: a@1.8, rollbackTo: v1}]}\n", "2:49",
       "is not a version"},
      {"two rollbacks of a name",
       kHead + "cache: {rollbacks: [{binary: a@3, rollbackTo: 2}, {binary: a@2, rollbackTo: 1}]}\n", "2:60",
       "\"a\" is rolled back twice"},
      {"few bytes", kHead + "cache: {memoryBudget: 64}\n", "2:23", "less than 1Mi"},
      {"relative path", kHead + "cache: {path: a}\n", "2:15", "absolute path"},
      {"socket with scheme", kHead + "containerd: {socket: \"unix:///run/c.sock\"}\n", "2:22",
       "remove unix://"},
      {"long socket", kHead + "containerd: {socket: /" + std::string(107, 's') + "}\n", "2:22", "107 bytes"},
      {"word", kHead + "telemetry: {logFormat: jsn}\n", "2:24", "did you mean json?"},
      {"half of TLS", kHead + "telemetry: {tls: {certificate: /a}}\n", "2:18", "\"key\" is missing"},
      {"TLS of nothing", kHead + "telemetry: {listen: \"off\", tls: {certificate: /a, key: /b}}\n", "2:28",
       "while listen is off"},
      {"token of nothing", kHead + "telemetry: {listen: \"off\", tokenFile: /a}\n", "2:28",
       "while listen is off"},
      {"token itself", kHead + "telemetry: {tokenFile: abc}\n", "2:24", "(begin it with /)"},
      {"profiling of a kind", kHead + "telemetry: {profiling: heap}\n", "2:24", "true or false"},
      {"no port", kHead + "telemetry: {listen: 127.0.0.1}\n", "2:21", "not ADDRESS:PORT"},
      {"host name", kHead + "telemetry: {listen: \"localhost:1\"}\n", "2:21", "not ADDRESS:PORT"},
      {"bare IPv6", kHead + "telemetry: {listen: \"::1:80\"}\n", "2:21", "[::1]:9477"},
      {"big port", kHead + "telemetry: {listen: \"127.0.0.1:65536\"}\n", "2:21", "not ADDRESS:PORT"},
      {"cause", kHead + "detection: {triggers: [timout]}\n", "2:24", "unreachable, dns, timeout, tls"},
      {"pause image", kHead + "containerd: {sandboxImage: \"K8s.io/Pause:3.9\"}\n", "2:28",
       "must be lower case (write \"pause\")"},
      {"no launches", kHead + "launcher: {maxConcurrentLaunches: 0}\n", "2:35", "from 1 to 256"},
      {"registry with a path", kHead + "registries: [{host: r.x/shop, dockerconfigjson: /f}]\n", "2:21",
       "leave out the scheme and the path"},
      {"registry with a scheme", kHead + "registries: [{host: \"https://r.x\", dockerconfigjson: /f}]\n",
       "2:21", "is not HOST or HOST:PORT"},
      {"the same registry",
       kHead + "registries: [{host: docker.io, dockerconfigjson: /f}, {host: index.docker.io, "
               "dockerconfigjson: /f}]\n",
       "2:62", "registry \"docker.io\" is named twice"},
      {"repository with a tag",
       kHead + "registries: [{host: r.x, dockerconfigjson: /f, repositories: [\"shop/a:1\"]}]\n", "2:63",
       "without the host and without a tag"},
  });
}

TEST(Mistakes, OfWorkloads) {
  const auto volume = [](const std::string& fields) {
    return kOne + "  volumes: [{name: v, " + fields + "}]\n";
  };
  expectEach({
      {"no name", kList + "- match: {container: c}\n  image: a\n  binary: a.b@1\n", "3:3",
       "\"name\" is missing"},
      {"no match", kList + "- {name: a, image: a, binary: a@1}\n", "3:3", "add match: {container: NAME}"},
      {"no image", kList + "- {name: a, match: {container: c}, binary: a@1}\n", "3:3",
       "or name kubernetes.sources"},
      {"listed binary", kHead + "podAnnotations: {binaries: [{name: A, namespaces: [b]}]}\n", "2:36",
       "write it without its version"},
      {"binary listed twice",
       kHead + "podAnnotations: {binaries: [{name: a, namespaces: [b]}, {name: a, namespaces: [c]}]}\n",
       "2:64", "is named twice"},
      {"inherit without sources", kOne + "  inherit: true\n", "7:12",
       "name its sources in kubernetes.sources"},
      {"rule without inheritance", kSources + kOwn + "  image: r/a:1\n  versionMatch: none\n", "8:17",
       "or add inherit: true"},
      {"no image and no inheritance", kSources + kOwn + "  inherit: false\n", "4:3", "\"image\" is missing"},
      {"versionMatch", kSources + kOwn + "  versionMatch: semver\n", "7:17", "exact, semver-patch, none"},
      {"missingEnv", kSources + kOwn + "  missingEnv: begin\n", "7:15", "refuse, start"},
      {"versionFrom", kSources + kOwn + "  versionFrom: {label: a, annotation: b}\n", "7:16",
       "keep or add one of them"},
      {"versionFrom without", kSources + kOwn + "  versionFrom: {}\n", "7:16", "keep or add one of them"},
      {"version label", kSources + kOwn + "  versionFrom: {label: a b}\n", "7:24", "is not a key"},
      {"no container", kList + "- {name: a, match: {}, image: a, binary: a@1}\n", "3:20",
       "\"container\" is missing"},
      {"name", kList + "- {name: A_b, match: {container: c}, image: a, binary: a@1}\n", "3:10",
       "Kubernetes accepts"},
      {"namespace", kList + "- {name: a, match: {namespace: N, container: c}, image: a, binary: a@1}\n",
       "3:32", "Kubernetes accepts"},
      {"label key", kList + "- {name: a, match: {labels: {a/b/c: d}, container: c}, image: a, binary: a@1}\n",
       "3:30", "key of a label"},
      {"label value", kList + "- {name: a, match: {labels: {a: b c}, container: c}, image: a, binary: a@1}\n",
       "3:33", "value of a label"},
      {"image", kList + "- {name: a, match: {container: c}, image: 'https://r/a', binary: a@1}\n", "3:43",
       "leave out the scheme"},
      {"two tags", kList + "- {name: a, match: {container: c}, image: 'r/a:1:2', binary: a@1}\n", "3:43",
       "its tag \"1:2\" is not valid (write at most 128"},
      {"capitals", kList + "- {name: a, match: {container: c}, image: 'r.x/Shop/a', binary: a@1}\n", "3:43",
       "write \"shop/a\""},
      {"digest", kList + "- {name: a, match: {container: c}, image: 'r/a@sha256:zz', binary: a@1}\n", "3:43",
       "64 lower-case hexadecimal digits"},
      {"binary", kList + "- {name: a, match: {container: c}, image: a, binary: a}\n", "3:54",
       "names no version; write NAME@VERSION"},
      {"root", kOne + "  user: {uid: 0}\n", "7:15",
       "must not run as root (choose another uid, or add allowRoot"},
      {"uid", kOne + "  user: {uid: -1}\n", "7:15", "from 0 to 4294967294"},
      {"group", kOne + "  user: {groups: [64Mi]}\n", "7:19",
       "user.groups[0]: \"64Mi\" is not a whole number"},
      {"port", kOne + "  readiness: {tcp: {port: 70000}}\n", "7:27", "from 1 to 65535"},
      {"no port", kOne + "  readiness: {http: {path: /}}\n", "7:21", "\"port\" is missing"},
      {"two ways", kOne + "  readiness: {tcp: {port: 1}, exec: {}}\n", "7:14", "more than one of"},
      {"exec with keys", kOne + "  readiness: {exec: {command: a}}\n", "7:22", "unknown key \"command\""},
      {"http path", kOne + "  readiness: {http: {port: 1, path: x}}\n", "7:37", "must begin with /"},
      {"path with dots", volume("type: secret, mountPath: /a/../b"), "7:48", "without . and .."},
      {"over everything", volume("type: secret, mountPath: /"), "7:48", "below /"},
      {"over proc", volume("type: secret, mountPath: /proc/x"), "7:48", "on or below /proc"},
      {"no type", volume("mountPath: /v"), "7:13", "\"type\" is missing"},
      {"other type", volume("type: nfs, mountPath: /v"), "7:29", "configMap, secret, projected"},
      {"host path without path", volume("type: hostPath, mountPath: /v"), "7:13", "\"path\" is missing"},
      {"host path", volume("type: hostPath, path: /a, mountPath: /v"), "7:45", "launcher.allowedHostPaths"},
      {"host path beside",
       kHead + "launcher: {allowedHostPaths: [/srv/a]}\n" +
           volume("type: hostPath, path: /srv/ab, mountPath: /v").substr(kHead.size()),
       "8:45", "launcher.allowedHostPaths"},
      {"volume with a path", kOne + "  volumes: [{type: csi, mountPath: /v, name: ../x}]\n", "7:46",
       "not the name of a persistent volume"},
      {"path of another", volume("type: secret, path: /a, mountPath: /v"), "7:37", "only a hostPath volume"},
      {"sub-path", volume("type: secret, mountPath: /v, subPath: ../x"), "7:61", "relative path"},
      {"absolute sub-path", volume("type: secret, mountPath: /v, subPath: /x"), "7:61", "relative path"},
      {"same place", volume("type: secret, mountPath: /v}, {name: w, type: secret, mountPath: /v"), "7:88",
       "used twice"},
      {"cpu", kOne + "  resources: {cpu: lots}\n", "7:20", "amount of CPUs (write 500m"},
      {"memory", kOne + "  resources: {memory: 64MB}\n", "7:23", "number of bytes"},
      {"env name", kOne + "  env: {a=b: c}\n", "7:9", "name of an environment variable"},
      {"working folder", kOne + "  workingDir: a\n", "7:15", "absolute path"},
      {"policy", kOne + "  detection: {imagePullPolicy: Sometimes}\n", "7:32", "IfNotPresent, Always, Never"},
      {"hand-back", kOne + "  handBack: {on: images}\n", "7:18", "did you mean image?"},
      {"when", kOne + "  handBack: {on: image, when: onDelete}\n", "7:31", "write on: container"},
      {"stand-in", kOne + "  standIn: {path: server}\n", "7:19", "absolute path"},
      {"stand-in itself", kOne + "  standIn: {path: /fallbackd-stand-in}\n", "7:19",
       "stand-in's own program"},
      {"stand-in under it", kOne + "  standIn: {path: /fallbackd-stand-in/server}\n", "7:19",
       "stand-in's own program"},
      {"stand-in below", kOne + "  standIn: {path: /proc/server}\n", "7:19", "its own file systems"},
      {"stand-in far", kOne + "  standIn: {path: /" + std::string(99, 'a') + "}\n", "7:19",
       "at most 99 bytes"},
      {"delays", kOne + "  restart: {initialDelay: 2s, maxDelay: 1s}\n", "7:41", "shorter than initialDelay"},
  });
}

TEST(Mistakes, OfWhatAWorkloadMayRequest) {
  const auto with = [](const std::string& field) { return kOne + "  " + field + "\n"; };
  expectEach({
      {"capability", with("capabilities: [NET_BIND_SERVICES]"), "7:18", "did you mean NET_BIND_SERVICE?"},
      {"capability beyond", with("capabilities: [CAP_SYS_ADMIN, KILL]"), "7:17",
       "SYS_ADMIN is not allowed on this node (add it to launcher.allowedCapabilities"},
      {"unconfined", with("seccompProfile: {type: Unconfined}"), "7:26", "launcher.allowUnconfined: true"},
      {"unconfined AppArmor", with("appArmorProfile: {type: Unconfined}"), "7:27",
       "launcher.allowUnconfined"},
      {"profile without type", with("seccompProfile: {}"), "7:19", "\"type\" is missing"},
      {"profile without file", with("seccompProfile: {type: Localhost}"), "7:19",
       "\"localhostProfile\" is missing"},
      {"profile elsewhere", with("seccompProfile: {type: Localhost, localhostProfile: ../x}"), "7:55",
       "relative path"},
      {"default with file", with("seccompProfile: {type: RuntimeDefault, localhostProfile: x}"), "7:42",
       "only a profile of type Localhost"},
      {"label", with("seLinuxLabel: container_t"), "7:17", "USER:ROLE:TYPE"},
      {"limit", with("rlimits: {nofiles: 5}"), "7:13", "did you mean nofile?"},
      {"limit's value", with("rlimits: {nofile: many}"), "7:21", "is not a whole number"},
      {"settle of a word that it does not know", with("settle: sometimes"), "7:11", "auto, always"},
      {"liveness of nothing", with("liveness: {interval: 1s}"), "7:13", "one of tcp and http"},
      {"liveness of both", with("liveness: {tcp: {port: 1}, http: {port: 1}}"), "7:13",
       "one of tcp and http"},
      {"file of no volume", with("envFiles: {A: /etc/a}"), "7:17", "mount the volume that has the file"},
      {"both ways",
       kOne + "  volumes: [{name: v, type: secret, mountPath: /v}]\n  env: {A: b}\n  envFiles: {A: /v/a}\n",
       "9:14", "is also set in env"},
      {"host folder", kHead + "launcher: {allowedHostPaths: [/]}\n", "2:31", "below /"},
      {"log files", kHead + "launcher: {logs: {maxFiles: 1}}\n", "2:29", "from 2 to 100"},
      {"log rate", kHead + "launcher: {logs: {bytesPerSecond: 1Ki}}\n", "2:35", "less than 1Mi"},
      {"log lines", kHead + "launcher: {logs: {linesPerSecond: 1}}\n", "2:35", "from 100 to"},
  });
}

TEST(Mistakes, AnAliasIsReportedOnceAndTheRestIsStillRead) {
  const auto lines = problemsOf("apiVersion: fallbackd.io/v1\ncache: {path: &p /a, keys: *p, state: b}\n");
  ASSERT_EQ(lines.size(), 3U) << testing::PrintToString(lines);
  EXPECT_TRUE(lines[0].starts_with("f:2:15: anchors")) << lines[0];
  EXPECT_TRUE(lines[1].starts_with("f:2:28: aliases")) << lines[1];
  EXPECT_TRUE(lines[2].starts_with("f:2:39: cache.state: must be an absolute path")) << lines[2];
}

TEST(Mistakes, ABrokenMatchIsNotComparedWithOthers) {
  const auto lines =
      problemsOf(kOne + "- {name: b, match: {namespace: N, container: c}, image: a, binary: a@1}\n");
  EXPECT_EQ(lines.size(), 1U) << testing::PrintToString(lines);
}

TEST(Mistakes, UnusualButValidFormsAreAccepted) {
  const std::string text =
      "\xEF\xBB\xBF---\r\napiVersion: \"fallbackd.io/v1\"\r\ncache: {path: '/it''s \\'}\r\n...\r\n# end\r\n";
  EXPECT_EQ(problemsOf(text), std::vector<std::string>{});
  EXPECT_EQ(problemsOf(kOne + "  args: [\"a\\\"b\", 'c\\', \"'\"]\n  env: {N: 5, B: true, E: \"\"}\n"),
            std::vector<std::string>{});
}

}  // namespace
}  // namespace fallbackd::config
