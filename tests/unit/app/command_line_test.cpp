// SPDX-License-Identifier: Apache-2.0
// fallbackctl as a new user sees it.
#include "base/strings.hpp"
#include "output_schema.hpp"
#include "shell.hpp"
#include "temp_folder.hpp"

#include <set>
#include <string>
#include <vector>

#include <boost/json.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fallbackd {
namespace {

using test::Output;
using test::shell;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

struct CommandLine : testing::Test {
  [[nodiscard]] std::string path(const std::string& name) const { return folder.path() + "/" + name; }
  static Output ctl(const std::string& words) { return shell(FALLBACKCTL " " + words); }

  /// Runs a command with a daemon that returns this status.
  [[nodiscard]] Output withDaemon(const std::string& status, const std::string& words) const {
    return shell("/usr/bin/python3 " FIXTURES "/fake_daemon.py " + path("sock") + " " +
                 folder.write("status.json", status) + " " FALLBACKCTL " " + words + " --socket " +
                 path("sock") + "; code=$?; rm -f " + path("sock") + "; exit $code");
  }
  test::TempFolder folder;
};

/// Every command, taken from the completion, which is generated from the command line's definition.
std::vector<std::string> commands() {
  const auto output =
      shell("bash -c 'source <(" FALLBACKCTL
            " completion bash); COMP_WORDS=(fallbackctl \"\"); COMP_CWORD=1; _fallbackctl; echo "
            "${COMPREPLY[@]}'");
  std::vector<std::string> all;
  for (const auto word : split(trim(output.text), ' ')) all.emplace_back(word);
  for (const char* below : {"pack build", "pack push", "pack inspect", "mirror enable", "mirror disable",
                            "drill start", "drill stop", "drill status", "drill pod"})
    all.emplace_back(below);
  return all;
}

TEST_F(CommandLine, AWrongCommandIsNamedWithItsNearestNeighbour) {
  const auto output = ctl("statsu -o json");
  EXPECT_EQ(output.code, 2);
  EXPECT_EQ(
      output.text,
      "fallbackctl: there is no command \"statsu\"; did you mean \"status\"? (fallbackctl help lists all)\n");
  EXPECT_THAT(ctl("pack biuld x").text, HasSubstr("no command \"pack biuld\"; did you mean \"pack build\"? "
                                                  "(fallbackctl help pack lists all)"));
  const auto strange = ctl("make-me-a-sandwich");
  EXPECT_EQ(strange.code, 2);
  EXPECT_THAT(strange.text, Not(HasSubstr("did you mean")));
}

TEST_F(CommandLine, HelpExplainsEveryCommandWithExamplesOfItsOwnOptions) {
  const auto all = commands();
  ASSERT_GE(all.size(), 22U);
  EXPECT_EQ(ctl("help").text, ctl("--help").text);
  for (const auto& command : all) {
    const auto help = ctl("help " + command);
    EXPECT_EQ(help.code, 0) << command;
    EXPECT_THAT(help.text, HasSubstr("Usage: fallbackctl " + command)) << command;
    const auto at = help.text.find("Examples:\n");
    ASSERT_NE(at, std::string::npos) << command << " has no examples";
    for (const auto line : split(trim(std::string_view(help.text).substr(at)), '\n')) {
      if (line.starts_with("Examples:")) continue;
      const auto example = trim(line);
      EXPECT_THAT(std::string(example), StartsWith("fallbackctl " + command));
      for (const auto word : split(example.substr(0, example.find(" -- ")), ' ')) {
        if (!word.starts_with('-')) continue;
        EXPECT_LT(help.text.find(std::string(word)), at) << command << " has no " << word;
      }
    }
  }
  EXPECT_EQ(ctl("help pack biuld").code, 2);
}

TEST_F(CommandLine, VersionNamesTheCommit) {
  const auto output = ctl("version");
  EXPECT_EQ(output.code, 0);
  EXPECT_THAT(output.text,
              testing::MatchesRegex("fallbackctl [0-9.]+\ncommit ([0-9a-f]+|unknown)\nbuilt from sources "
                                    "of ([-0-9T:]+Z|unknown)\n"));
  const auto known = boost::json::parse(ctl("version -o json").text);
  EXPECT_EQ(ctl("--version").text, "fallbackctl " + std::string(known.at("version").as_string()) + "\n");
}

/// A YAML parser reads the same document.
TEST_F(CommandLine, YamlEqualsJson) {
  const auto manifest =
      folder.write("shop.yaml",
                   "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: 'yes', namespace: shop}\n"
                   "spec: {template: {metadata: {labels: {app: a}}, spec: {containers: [{name: 'no', image: "
                   "'r.example.com:5000/a:1.0'}, "
                   "{name: b, image: 'r/b:2'}]}}}\n");
  const auto config = folder.write("fallbackd.yaml", "apiVersion: fallbackd.io/v1\n");
  for (const auto& words : {"coverage --config " + config + " --from " + manifest, std::string("version")}) {
    const auto output = shell("{ " FALLBACKCTL " " + words + " -o yaml > " + path("a.yaml") +
                              "; " FALLBACKCTL " " + words + " -o json > " + path("a.json") +
                              "; /usr/bin/python3 -c 'import json,sys,yaml; "
                              "a, b = yaml.safe_load(open(sys.argv[1])), json.load(open(sys.argv[2])); "
                              "print(\"equal\" if a == b and b else (a, b))' " +
                              path("a.yaml") + " " + path("a.json") + "; }");
    EXPECT_EQ(output.text, "equal\n") << words;
    EXPECT_EQ(test::schemaProblems(words.substr(0, words.find(' ')),
                                   shell(FALLBACKCTL " " + words + " -o json").text),
              "");
  }
}

/// A truncated configuration must not look complete.
TEST_F(CommandLine, OutputThatIsLostIsAFailure) {
  for (const char* words : {"version", "describe-config", "version -o json", "help", "--help", "--version"}) {
    const auto output = ctl(std::string(words) + " > /dev/full");
    EXPECT_EQ(output.code, 1) << words;
    EXPECT_THAT(output.text, StartsWith("fallbackctl: cannot write to standard output")) << words;
  }
  EXPECT_EQ(ctl("statsu > /dev/full").code, 2);
}

TEST_F(CommandLine, ALimitIsAtLeastOne) {
  for (const char* limit : {"0", "-1", "x", "99999999999999999999"}) {
    EXPECT_EQ(ctl("recoveries --socket /nonexistent --limit=" + std::string(limit)).code, 2) << limit;
  }
}

/// An unreadable pause file pauses the whole node, and the daemon's next start removes the stand-ins.
TEST_F(CommandLine, AReasonIsWrittenOnlyIfTheDaemonCanReadIt) {
  const auto where = " --state " + path("state") + " --socket " + path("none");
  for (const std::string reason : {"St\xf6rung", "a\nb", "\x7f", "\xed\xa0\x80"}) {
    for (const std::string command : {"pause", "pause --namespace shop", "remove-all"}) {
      const auto refused = ctl(command + where + " --reason '" + reason + "'");
      EXPECT_EQ(refused.code, 2) << refused.text;
      EXPECT_THAT(refused.text, HasSubstr("--reason must be one line of UTF-8, of at most 400 bytes"));
    }
  }
  EXPECT_EQ(shell("cat " + path("state") + "/pause.yaml 2>/dev/null").text, "");
  EXPECT_EQ(ctl("pause" + where + " --reason 'St\xc3\xb6rung'").code, 1) << "no daemon runs";
  EXPECT_THAT(shell("cat " + path("state") + "/pause.yaml").text, HasSubstr("St\xc3\xb6rung"));
}

/// Without a listener, containerd 1.x would report a refused connection instead of the registry's answer.
TEST_F(CommandLine, TheMirrorIsEnabledOnlyWhereSomebodyListens) {
  const auto hosts = path("certs.d");
  const auto config = folder.write("fallbackd.yaml", "apiVersion: fallbackd.io/v1\n");
  const auto enable = "mirror enable --any-containerd-config --registry r.test --hosts-dir " + hosts +
                      " --token-file " + path("token") + " --config " + config;
  const auto would = ctl(enable);
  EXPECT_EQ(would.code, 0) << "nothing is written";
  EXPECT_THAT(would.text, HasSubstr("note: " + config + " has no mirror.listen"));
  const auto refused = ctl(enable + " --write");
  EXPECT_EQ(refused.code, 1);
  EXPECT_THAT(refused.text,
              AllOf(HasSubstr("has no mirror.listen"), HasSubstr("mirror.listen: 127.0.0.1:478"),
                    HasSubstr("--address"), HasSubstr("--force")));
  EXPECT_EQ(ctl(enable + " --write --best-effort").code, 0);
  EXPECT_EQ(shell("ls " + folder.path()).text, "fallbackd.yaml\n") << "no file and no token";
  for (const std::string allowed : {"--force", "--address 127.0.0.1:9999"}) {
    const auto written = ctl(enable + " --write " + allowed);
    EXPECT_EQ(written.code, 0) << written.text;
    EXPECT_THAT(ctl("mirror disable --write --hosts-dir " + hosts + " --config " + config).text,
                HasSubstr("remove " + hosts + "/r.test/hosts.toml"));
  }
  folder.write("fallbackd.yaml", "apiVersion: fallbackd.io/v1\nmirror: {listen: 127.0.0.1:478}\n");
  EXPECT_EQ(ctl(enable + " --write").code, 0);
  EXPECT_THAT(shell("cat " + hosts + "/r.test/hosts.toml").text, HasSubstr("http://127.0.0.1:478"));
}

/// Like mirror.listen: containerd sends it a token in clear text, and every pull tries it first.
TEST_F(CommandLine, TheMirrorsAddressIsOnLoopback) {
  const auto enable = "mirror enable --write --any-containerd-config --registry r.test --hosts-dir " +
                      path("certs.d") + " --token-file " + path("token") + " --config " +
                      folder.write("fallbackd.yaml", "apiVersion: fallbackd.io/v1\n") + " --address ";
  for (const std::string elsewhere : {"127.0.0.1", "localhost:478", "192.0.2.1:478", "0.0.0.0:478",
                                      "127.0.0.1:0", "[::2]:478", "nonsense"}) {
    for (const std::string more : {"", " --force", " --best-effort"}) {
      const auto refused = ctl(enable + elsewhere + more);
      EXPECT_EQ(refused.code, 2) << refused.text;
      EXPECT_THAT(refused.text, HasSubstr("--address \"" + elsewhere + "\" is not ADDRESS:PORT on loopback"));
    }
  }
  EXPECT_EQ(shell("ls " + folder.path()).text, "fallbackd.yaml\n") << "no file and no token";
  EXPECT_EQ(ctl(enable + "'[::1]:478'").code, 0);
}

/// An operator who reads "nothing has the mirror" uninstalls the daemon, and containerd still queries it.
TEST_F(CommandLine, MirrorDisableDoesNotClaimSuccessForAWrongFolder) {
  const auto config = [&](const std::string& hosts) {
    return " --config " + folder.write(hosts.substr(hosts.rfind('/') + 1) + ".yaml",
                                       "apiVersion: fallbackd.io/v1\nmirror: {hostsDir: " + hosts + "}\n");
  };
  const auto file = folder.write("file", "no folder");
  for (const auto& words : {config(file), " --hosts-dir " + file + config(file),
                            " --hosts-dir " + path("mistyped") + config(path("certs.d"))}) {
    const auto output = ctl("mirror disable --write" + words);
    EXPECT_EQ(output.code, 1) << words;
    EXPECT_THAT(output.text, AllOf(HasSubstr("nothing is removed"), HasSubstr("--hosts-dir names it")));
  }
  const auto none = ctl("mirror disable --write" + config(path("certs.d")));
  EXPECT_EQ(none.code, 0) << "the mirror was never enabled on this node";
  EXPECT_EQ(none.text, "there is no folder " + path("certs.d") + "\n");
}

TEST_F(CommandLine, CheckConfigNotesAPortThatAnybodyCanTake) {
  const auto check = [&](const std::string& mirror) {
    return ctl("check-config --config " +
               folder.write("fallbackd.yaml", "apiVersion: fallbackd.io/v1\nmirror: {" + mirror + "}\n"));
  };
  const auto open = check("listen: 127.0.0.1:9478");
  EXPECT_EQ(open.code, 0);
  EXPECT_THAT(open.text,
              AllOf(HasSubstr("note: mirror.listen"), HasSubstr("127.0.0.1:478"), HasSubstr("ok: ")));
  EXPECT_THAT(check("listen: \"[::1]:1024\"").text, HasSubstr("note: mirror.listen"));
  EXPECT_THAT(check("listen: \"[::1]:1023\"").text, StartsWith("ok: "));
  folder.write("certs.d/r.test/hosts.toml",
               "# fallbackd mirror: begin\n[host.\"http://127.0.0.1:9478\"]\n# fallbackd mirror: end\n");
  EXPECT_THAT(check("hostsDir: " + path("certs.d")).text,
              AllOf(HasSubstr("containerd ask 127.0.0.1:9478 first"), HasSubstr("mirror disable")));
}

std::string workload(const std::string& binary) {
  return "apiVersion: fallbackd.io/v1\nworkloads:\n- name: a\n  match: {namespace: shop, container: a}\n"
         "  image: r.example.com/a:1\n  binary: " +
         binary + "\n";
}

TEST_F(CommandLine, OpenTodosAreNotOk) {
  const auto open = folder.write("open.yaml", workload("a@1.0") + "  # TODO: readiness: choose a port\n");
  const auto todo = ctl("check-config --config " + open);
  EXPECT_EQ(todo.code, 2);
  EXPECT_THAT(todo.text,
              AllOf(HasSubstr(open + ":7:5: to decide: readiness: choose a port (then remove the line)"),
                    HasSubstr("1 points to decide in " + open)));
  const auto unknown = ctl("check-config --config " + folder.write("unknown.yaml", workload("a@0.0.0")));
  EXPECT_EQ(unknown.code, 2);
  EXPECT_THAT(unknown.text,
              HasSubstr("unknown.yaml:3: workload \"a\": a@0.0.0 is not a version that exists"));
  const auto main = folder.write("main.yaml", "apiVersion: fallbackd.io/v1\n");
  const auto dropIn = folder.write("more/shop.yaml", workload("a@0.0.0"));
  EXPECT_THAT(ctl("check-config --config " + main + " --drop-ins " + path("more")).text,
              StartsWith(dropIn + ":3: workload \"a\""))
      << "the file to change";
  const auto decided = folder.write("decided.yaml", workload("a@1.0"));
  EXPECT_EQ(ctl("check-config --config " + decided).text, "ok: 1 workloads in " + decided + "\n");
}

TEST_F(CommandLine, CheckConfigReadsWhatTheDaemonReads) {
  const auto file = folder.write("node.yaml", workload("a@1.0"));
  const auto status = R"({"config":{"file":")" + file + R"(","dropIns":")" + path("more") + R"("}})";
  EXPECT_THAT(withDaemon(status, "check-config").text,
              HasSubstr(path("more") + ": cannot read the drop-in folder"));
  const auto alone = withDaemon(R"({"config":{"file":")" + file + R"(","dropIns":""}})", "check-config");
  EXPECT_EQ(alone.text, "ok: 1 workloads in " + file + "\n");
  EXPECT_EQ(alone.code, 0);
}

std::string status(const std::string& connected, const std::string& covered, const std::string& waiting) {
  return R"({"version":"1","node":"n","now":"2026-01-01T00:00:00Z","containerd":{"connected":)" + connected +
         R"(},"spawner":{"running":true},"config":{"file":"/f.yaml","current":true,"problems":[]},"coverage":{"covered":)" +
         covered + R"(,"workloads":2},"waiting":[)" + waiting +
         R"(],"recoveries":[{"namespace":"shop","pod":"web-0","container":"web","state":"failed"}]})";
}

TEST_F(CommandLine, MessagesNameTheSocket) {
  const auto absent = ctl("status --socket " + path("none"));
  EXPECT_EQ(absent.code, 1);
  EXPECT_THAT(absent.text, HasSubstr("connect to " + path("none")));
  EXPECT_THAT(withDaemon("no JSON", "status").text,
              HasSubstr("the answer of the daemon at " + path("sock") + " is not JSON"));
}

TEST_F(CommandLine, StatusSaysWhatEndsARollback) {
  auto text = status("true", "2", "");
  text.insert(
      1,
      R"("cache":{"rollbacks":[{"name":"checkout","from":"1.9.0","to":"1.8.2","state":"in_effect",)"
      R"("floor":"1.9.0"},{"name":"cart","from":"2.0.0","to":"1.0.0","state":"passed","floor":"2.1.0"}]},)");
  EXPECT_THAT(
      withDaemon(text, "status").text,
      AllOf(HasSubstr("rollback of checkout@1.9.0 to 1.8.2: in effect until a workload or a "
                      "minimumVersion is above 1.9.0; the version floor is 1.9.0\n"),
            HasSubstr("rollback of cart@2.0.0 to 1.0.0: over, the version floor is above it: remove it")));
}

TEST_F(CommandLine, StatusOmitsPartsWithoutProblems) {
  const auto with = [&](const std::string& problem) {
    auto text = status("true", "2", R"({"namespace":"shop","pod":"web-0","container":"web","image":""})");
    return withDaemon(text.insert(1, R"("settle":{"node":"auto","problem":")" + problem + R"("},)"), "status")
        .text;
  };
  const auto well = with("");
  EXPECT_THAT(well, Not(HasSubstr("\n-\n"))) << "a line without content";
  EXPECT_THAT(well, HasSubstr("web        not known")) << "only the pod's specification would name the image";
  EXPECT_THAT(with("settle is auto, which means never"), HasSubstr("\nsettle is auto, which means never\n"));
}

TEST_F(CommandLine, ForeignTextDoesNotControlTheTerminal) {
  auto text =
      status("true", "2", R"({"namespace":"shop","pod":"web-0","container":"web","text":"\u009b2J"})");
  const auto shown = withDaemon(text.insert(1, R"("mirror":{"problem":"\u001b[2J"},)"), "status").text +
                     ctl("pack inspect \"$(printf '/none\\033[2J')\"").text;
  EXPECT_THAT(shown, AllOf(Not(HasSubstr("\x1b")), Not(HasSubstr("\xc2\x9b"))));
  EXPECT_THAT(shown, AllOf(HasSubstr("\\xc2\\x9b2J"), HasSubstr("the mirror does not run: \\x1b[2J"),
                           HasSubstr("there is no /none\\x1b[2J")));
}

TEST_F(CommandLine, StatusHasAnExitCodeForScripts) {
  const auto well = withDaemon(status("true", "2", ""), "status --exit-code");
  EXPECT_EQ(well.code, 0) << well.text;
  const auto lost = status("false", "1", R"({"namespace":"shop","pod":"web-0","container":"web"})");
  const auto bad = withDaemon(lost, "status --exit-code -o json");
  EXPECT_EQ(bad.code, 1);
  EXPECT_THAT(bad.text,
              AllOf(HasSubstr("containerd is not connected"), HasSubstr("1 of 2 workloads are covered"),
                    HasSubstr("the recovery of shop/web-0, container web failed")));
  EXPECT_EQ(withDaemon(lost, "status").code, 0) << "only with --exit-code";
}

}  // namespace
}  // namespace fallbackd
