// SPDX-License-Identifier: Apache-2.0
// fallbackctl drill: the pod that it prints, and what it refuses.
#include "shell.hpp"
#include "temp_folder.hpp"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fallbackd {
namespace {

using test::Output;
using test::shell;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

struct DrillCtl : testing::Test {
  static Output ctl(const std::string& words) { return shell(FALLBACKCTL " drill " + words); }
  [[nodiscard]] Output withDaemon(const std::string& drill, const std::string& words,
                                  const std::string& orders = R"("mode":"recover")") const {
    const auto status = folder.write(
        "status.json", R"({"node":"n1","now":"2026-01-01T00:00:00Z",)" + orders + R"(,"drill":)" + drill +
                           R"(,"workloads":[{"name":"checkout","namespace":"shop","container":"checkout"},)"
                           R"({"name":"anywhere","namespace":"","container":"main"}]})");
    const auto socket = folder.path() + "/sock";
    return shell("/usr/bin/python3 " FIXTURES "/fake_daemon.py " + socket + " " + status +
                 " " FALLBACKCTL " drill " + words + " --socket " + socket + " --state " + folder.path() +
                 "/state; code=$?; rm -f " + socket + "; exit $code");
  }
  test::TempFolder folder;
  const std::string deployment = std::string(FIXTURES) + "/deployment.yaml";
};

TEST_F(DrillCtl, ThePodIsThatOfTheDeploymentOnARegistryThatDoesNotExist) {
  const auto pod = ctl("pod checkout --node n1 --for 5m --container checkout " + deployment + " 2>" +
                       folder.path() + "/notes");
  ASSERT_EQ(pod.code, 0) << shell("cat " + folder.path() + "/notes").text;
  EXPECT_THAT(pod.text,
              AllOf(HasSubstr("kind: Pod\n"), HasSubstr("name: checkout-drill\n"),
                    HasSubstr("namespace: shop\n"), HasSubstr("fallbackd.io/drill: checkout-drill\n"),
                    HasSubstr("nodeName: n1\n"), HasSubstr("activeDeadlineSeconds: 300\n")));
  EXPECT_THAT(pod.text, HasSubstr("fallbackd-drill.invalid/shop/checkout:v1.8.3"));
  EXPECT_THAT(pod.text, Not(HasSubstr("registry.example.com:5000/shop/checkout:v1.8.3")));
  EXPECT_THAT(pod.text, Not(HasSubstr("migrate"))) << "the migration must not run a second time";
  EXPECT_THAT(pod.text, Not(HasSubstr("persistentVolumeClaim")));
  EXPECT_THAT(pod.text, Not(HasSubstr("app: checkout"))) << "no Service or controller may select it";
  EXPECT_THAT(shell("cat " + folder.path() + "/notes").text,
              HasSubstr("kubectl -n shop set image pod/checkout-drill "
                        "checkout=registry.example.com:5000/shop/checkout:v1.8.3"));
}

TEST_F(DrillCtl, WhatTwoPodsCannotShareIsLeftOut) {
  const auto set = folder.write("set.yaml", R"(apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: shop}
spec:
  template:
    metadata: {labels: {app: db}, annotations: {cni.projectcalico.org/ipAddrs: "[]", fallbackd.io/binary.db: db@1}}
    spec:
      nodeSelector: {disk: ssd}
      containers:
      - name: db
        image: r.example.com/db@sha256:0000000000000000000000000000000000000000000000000000000000000000
        ports: [{containerPort: 5432, hostPort: 5432}]
        volumeMounts: [{name: data, mountPath: /data}]
      volumes: [{name: shared, persistentVolumeClaim: {claimName: all}}]
  volumeClaimTemplates: [{metadata: {name: data}}]
)");
  const auto pod = ctl("pod db --node n1 " + set + " 2>&1");
  ASSERT_EQ(pod.code, 0) << pod.text;
  EXPECT_THAT(pod.text, AllOf(HasSubstr("fallbackd.io/binary.db"), HasSubstr("emptyDir"),
                              HasSubstr("containerPort: 5432")));
  EXPECT_THAT(pod.text, AllOf(Not(HasSubstr("hostPort:")), Not(HasSubstr("nodeSelector"))));
  EXPECT_THAT(pod.text, HasSubstr("fallbackd-drill.invalid/db@sha256:000"));
  EXPECT_THAT(pod.text, Not(HasSubstr("ipAddrs"))) << "it must not take a real pod's address";
  EXPECT_THAT(pod.text,
              AllOf(HasSubstr("its volume \"shared\" is empty"), Not(HasSubstr("persistentVolumeClaim"))));
}

TEST_F(DrillCtl, NothingOfTheRealPodsCanBeWritten) {
  const auto file = folder.write("pod.yaml", R"(kind: Pod
metadata: {name: db, namespace: shop}
spec:
  initContainers: [{name: migrate, image: r/migrate:1}]
  containers:
  - name: db
    image: r/db:1
    volumeDevices: [{name: claim, devicePath: /dev/xvda}]
    volumeMounts:
    - {name: host, mountPath: /a}
    - {name: certificates, mountPath: /b, readOnly: true}
    - {name: runtime, mountPath: /c, readOnly: true}
    - {name: nfs, mountPath: /d}
    - {name: settings, mountPath: /e}
  volumes:
  - {name: claim, persistentVolumeClaim: {claimName: all}}
  - {name: host, hostPath: {path: /srv/data}}
  - {name: certificates, hostPath: {path: /etc/ssl}}
  - {name: runtime, hostPath: {path: /run/runtime.sock, type: Socket}}
  - {name: nfs, nfs: {server: a, path: /b}}
  - {name: settings, configMap: {name: db}}
)");
  const auto pod = ctl("pod db --node n1 " + file + " 2>/dev/null");
  ASSERT_EQ(pod.code, 0) << pod.text;
  for (const auto* word : {"initContainers", "migrate", "volumeDevices", "persistentVolumeClaim", "/srv/data",
                           "runtime.sock", "nfs:"}) {
    EXPECT_THAT(pod.text, Not(HasSubstr(word)));
  }
  EXPECT_THAT(pod.text, AllOf(HasSubstr("/etc/ssl"), HasSubstr("configMap")));
  const auto notes = ctl("pod db --node n1 " + file + " 2>&1 >/dev/null").text;
  EXPECT_THAT(notes, AllOf(HasSubstr("\"claim\" is empty"), HasSubstr("\"host\" is empty"),
                           HasSubstr("\"runtime\" is empty"), HasSubstr("\"nfs\" is empty"),
                           HasSubstr("\"migrate\" is left out")));
}

TEST_F(DrillCtl, APodInTheNodesNamespacesIsRefused) {
  for (const std::string key : {"hostNetwork", "hostPID", "hostIPC"}) {
    const auto file = folder.write("agent.yaml",
                                   "kind: DaemonSet\nmetadata: {name: agent}\nspec:\n  template:\n    spec:\n"
                                   "      " +
                                       key + ": true\n      containers: [{name: a, image: r/a:1}]\n");
    const auto printed = ctl("pod agent --node n1 " + file + " 2>" + folder.path() + "/notes");
    EXPECT_EQ(printed.code, 1) << key;
    EXPECT_EQ(printed.text, "") << "the output may be piped straight to kubectl apply";
    EXPECT_THAT(shell("cat " + folder.path() + "/notes").text,
                AllOf(HasSubstr("DaemonSet \"agent\" has " + key + ": true"), HasSubstr("remove that line")));
  }
}

TEST_F(DrillCtl, ADrillIsRefusedDuringAPause) {
  const std::string none = R"({"problem":""})";
  const std::string order = R"("since":"2026-01-01T00:00:00Z","reason":"")";
  const auto node =
      withDaemon(none, "start checkout", R"("pause":{"node":{)" + order + R"(},"namespaces":[]})");
  EXPECT_EQ(node.code, 1);
  EXPECT_THAT(node.text, HasSubstr("the node is paused"));
  const auto pausing = R"("pause":{"namespaces":[{"name":"shop",)" + order + "}]}";
  const auto shop = withDaemon(none, "start checkout", pausing);
  EXPECT_EQ(shop.code, 1);
  EXPECT_THAT(shop.text, HasSubstr("namespace shop is paused"));
  EXPECT_EQ(shell("ls " + folder.path() + "/state/drill.yaml 2>/dev/null").text, "");
}

TEST_F(DrillCtl, APodNeedsATemplateAndOneContainer) {
  const auto none = folder.write("none.yaml", "kind: ConfigMap\nmetadata: {name: a}\n");
  EXPECT_THAT(ctl("pod a --node n1 " + none).text, HasSubstr("has no pod template"));
  const auto two = folder.write("two.yaml",
                                "kind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n"
                                "  - {name: a, image: r/a:1}\n  - {name: b, image: r/b:1}\n");
  EXPECT_THAT(ctl("pod a --node n1 " + two).text, HasSubstr("--container names"));
  EXPECT_THAT(ctl("pod a --node n1 --container c " + two).text, HasSubstr("no container \"c\""));
  const auto chosen = ctl("pod a --node n1 --container b " + two);
  EXPECT_EQ(chosen.code, 0);
  EXPECT_THAT(chosen.text, AllOf(HasSubstr("r/a:1"), HasSubstr("fallbackd-drill.invalid/r/b:1")));
}

TEST_F(DrillCtl, InvalidDrillsAreRefusedAndWriteNothing) {
  const std::string none = R"({"problem":""})";
  for (const auto* words :
       {"start checkout --for 2h", "start checkout --for 5s", "start checkout --for soon",
        "start checkout --pod a/b/c", "start checkout --pod shop/UPPER", "start checkout --reason 'a\nb'",
        "start checkout --reason 'St\xf6rung'", "start cart", "start anywhere", "start"}) {
    EXPECT_EQ(withDaemon(none, words).code, 2) << words;
  }
  EXPECT_THAT(withDaemon(none, "start anywhere").text, HasSubstr("--pod NAMESPACE/NAME"));
  const auto second = withDaemon(
      R"({"problem":"","workload":"checkout","namespace":"shop","pod":"checkout-drill","since":"2026-01-01T00:00:00Z","until":"2026-01-01T00:10:00Z","reason":"x"})",
      "start checkout");
  EXPECT_EQ(second.code, 1);
  EXPECT_THAT(second.text, HasSubstr("a drill holds already"));
  EXPECT_EQ(shell("ls " + folder.path() + "/state/drill.yaml 2>/dev/null").text, "");
  EXPECT_EQ(ctl("start checkout --socket " + folder.path() + "/none").code, 1) << "a drill needs the daemon";
}

TEST_F(DrillCtl, ReportsThatModeIsObserve) {
  folder.write("state", "no folder, so that nobody is waited for");
  const std::string none = R"({"problem":""})";
  EXPECT_THAT(withDaemon(none, "start checkout", R"("mode":"observe")").text,
              HasSubstr("mode is observe: no fallback is started"));
  EXPECT_THAT(withDaemon(none, "start checkout").text, Not(HasSubstr("observe")));
}

TEST_F(DrillCtl, TheStatusOfADrillIsOneLine) {
  EXPECT_EQ(withDaemon(R"({"problem":""})", "status").text, "no drill holds\n");
  EXPECT_THAT(withDaemon(R"({"problem":"drill.yaml:1:1: is empty"})", "status").text,
              HasSubstr("does not hold: drill.yaml:1:1"));
  EXPECT_THAT(
      withDaemon(
          R"({"problem":"","workload":"checkout","namespace":"shop","pod":"checkout-drill","since":"2026-01-01T00:00:00Z","until":"2026-01-01T00:10:00Z","reason":"we learn"})",
          "status")
          .text,
      HasSubstr("A DRILL of workload checkout holds for pod shop/checkout-drill until 00:10:00: we learn"));
}

}  // namespace
}  // namespace fallbackd
