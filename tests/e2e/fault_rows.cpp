// SPDX-License-Identifier: Apache-2.0
#include "fault_rows.hpp"

#include <algorithm>
#include <array>
#include <fstream>
#include <sstream>
#include <utility>

namespace fallbackd::e2e {

using namespace std::chrono_literals;

namespace {

const std::string kWords = "dial tcp 192.0.2.7:443: connect: connection refused";

/// Connected but silent: `responseTimeout` applies, if this build has it.
double silenceMs() {
  return (knowsKey("detection.responseTimeout") ? kResponseTimeoutMs : kStallTimeoutMs) + kPromptMs;
}

struct Operation {
  std::string name;
  Asked asked;
};

const std::array kOperations{Operation{"token", Asked::token}, Operation{"resolve", Asked::resolve},
                             Operation{"manifest", Asked::manifest}, Operation{"config", Asked::config},
                             Operation{"layer", Asked::layer}};

/// Whether containerd has already stored something before this operation.
bool stores(Asked asked) {
  return asked == Asked::config || asked == Asked::layer;
}

/// What a status means, for any operation.
struct Meaning {
  unsigned status;
  const char* cause;
  bool recovered;
};

constexpr std::array kMeanings{
    Meaning{400, "unknown", false},      Meaning{401, "unauthorized", false},
    Meaning{403, "unauthorized", false}, Meaning{404, "not_found", false},
    Meaning{408, "timeout", true},       Meaning{410, "not_found", false},
    Meaning{425, "unknown", false},      Meaning{429, "rate_limited", true},
    Meaning{451, "unauthorized", false}, Meaning{499, "timeout", true},
    Meaning{500, "server_error", true},  Meaning{502, "server_error", true},
    Meaning{503, "server_error", true},  Meaning{504, "server_error", true},
    Meaning{521, "server_error", true},
};

std::vector<Case> wireFaults() {
  return {
      {.name = "connection reset", .fault = {.reset = true}, .expected = "unreachable", .recovered = true},
      {.name = "EOF before headers",
       .fault = {.cut = Cut::before_headers},
       .expected = "unreachable",
       .recovered = true},
      {.name = "EOF within the headers",
       .fault = {.cut = Cut::amid_headers},
       .expected = "unreachable",
       .recovered = true},
      {.name = "EOF within the body",
       .fault = {.cut = Cut::amid_body},
       .expected = "unreachable",
       .recovered = true},
      {.name = "reset within the body",
       .fault = {.cut = Cut::reset_within_body},
       .expected = "unreachable",
       .recovered = true},
      {.name = "stays silent",
       .fault = {.silent = true},
       .expected = "timeout",
       .recovered = true,
       .limitMs = silenceMs()},
      {.name = "no HTTP", .fault = {.garbage = true}, .expected = "unknown"},
      {.name = "a page of HTML", .fault = {.html = true}, .expected = "unknown", .limitMs = 0},
  };
}

Case proxied(const std::string& answer, const std::string& cause, bool recovered) {
  return {.name = "proxy: " + answer,
          .expected = cause,
          .recovered = recovered,
          .image = answer + ".proxied.test/ROW:1.8.3"};
}

/// What containerd reports for several hosts. Version 1: the first error that is not a 404. Version 2: the
/// first status that is neither 404 nor a connection failure, else a 404, else the connection failure.
struct Shown {
  std::optional<Expected> on1 = {};
  std::optional<Expected> on2 = {};
};

Case mirrored(const std::string& name, std::vector<std::string> hosts, const Expected& expected,
              const Shown& shown = {}) {
  // Each row has its own host: what is learned about a registry applies to all its images.
  static int rows = 0;
  return {.name = "mirror " + name,
          .expected = expected.cause,
          .recovered = expected.recovered,
          .image = "mirrored-" + std::to_string(++rows) + ".test/shop/ROW:1.8.3",
          .hosts = std::move(hosts),
          .on1 = shown.on1,
          .on2 = shown.on2};
}

Case refusedWith(const std::string& name, RegistryFault fault, const std::string& cause) {
  return {.name = "hostile " + name, .fault = std::move(fault), .expected = cause};
}

Case hostileImage(const std::string& name, const std::string& image) {
  return {.name = "hostile " + name,
          .fault = withStatus(404),
          .expected = "not_found",
          .image = image,
          .hosts = {""}};
}

}  // namespace

bool knowsKey(const std::string& key) {
  std::ostringstream text;
  text << std::ifstream(FALLBACKD_REFERENCE).rdbuf();
  return text.str().find("`" + key + "`") != std::string::npos;
}

std::vector<Case> operationRows() {
  std::vector<Case> all;
  for (const auto& [operation, asked] : kOperations) {
    const bool sampled = asked == Asked::resolve || asked == Asked::layer;
    for (auto one : wireFaults()) {
      const bool ofBody = one.fault.cut == Cut::amid_body || one.fault.cut == Cut::reset_within_body;
      // An answer to HEAD has no body. After an HTML answer containerd continues with a GET, which succeeds.
      if (asked == Asked::resolve && (ofBody || one.fault.html)) continue;
      if (asked != Asked::token && one.fault.cut == Cut::amid_body) {
        // containerd's copy loop hides why the bytes end: they could be all that was ever pushed.
        one.expected = "unknown";
        one.recovered = false;
      }
      one.name.insert(0, operation + ": ");
      if (stores(asked) && one.limitMs == kPromptMs) one.limitMs = kStoredMs;
      one.fault.asked = asked;
      one.sample = sampled;
      all.push_back(std::move(one));
    }
    for (const auto& [status, cause, recovered] : kMeanings) {
      Case one{.name = operation + ": " + std::to_string(status),
               .fault = withStatus(status),
               .expected = cause,
               .recovered = recovered,
               .limitMs = stores(asked) ? kStoredMs : kPromptMs};
      one.fault.asked = asked;
      // A missing token service does not mean that the image is missing.
      if (asked == Asked::token && one.expected == "not_found") one.expected = "unknown";
      one.sample = sampled && (status == 408 || status == 425 || status == 499 || status == 521);
      all.push_back(std::move(one));
    }
  }
  // Slow cases come first, before hundreds of probes run beside them.
  std::stable_sort(all.begin(), all.end(),
                   [](const Case& a, const Case& b) { return a.limitMs > b.limitMs; });
  return all;
}

std::vector<Case> redirectRows(const std::string& dead) {
  return {
      {.name = "everything: a page of HTML", .fault = {.html = true}, .expected = "unknown", .sample = true},
      {.name = "layer: elsewhere, nobody listens",
       .fault = {.elsewhere = "http://" + dead + "/"},
       .expected = "unreachable",
       .recovered = true,
       .limitMs = kStoredMs,
       .sample = true},
      {.name = "layer: elsewhere, name not known",
       .fault = {.elsewhere = "http://store.invalid/"},
       .expected = "dns",
       .recovered = true,
       .limitMs = kStoredMs}};
}

std::vector<Case> proxyRows() {
  std::vector<Case> all{
      proxied("403", "unauthorized", false),  proxied("407", "unauthorized", false),
      proxied("404", "unknown", false),       proxied("408", "timeout", true),
      proxied("429", "rate_limited", true),   proxied("500", "server_error", true),
      proxied("502", "server_error", true),   proxied("503", "server_error", true),
      proxied("504", "server_error", true),   proxied("words", "unknown", false),
      proxied("closes", "unreachable", true), proxied("resets", "unreachable", true),
      proxied("cuts", "unreachable", true),   proxied("noise", "unknown", false),
      proxied("hangs", "timeout", true),
  };
  all.back().limitMs = silenceMs();
  all.push_back({.name = "proxy: nobody listens",
                 .expected = "unreachable",
                 .recovered = true,
                 .image = "nobody.proxied.test/ROW:1.8.3",
                 .hosts = {"http://nobody.proxied.test"}});
  for (auto& one : all) {
    const auto answer = one.name.substr(one.name.find(' ') + 1);
    one.sample = answer == "403" || answer == "407" || answer == "502" || answer == "503" ||
                 answer == "words" || answer == "closes" || answer == "hangs" || answer == "nobody listens";
  }
  return all;
}

std::vector<Case> mirrorRows(const MirrorUrls& urls) {
  const Expected outage{"unreachable", true};
  const Expected down{"server_error", true};
  const Expected absent{"not_found", false};
  const Expected refused{"unauthorized", false};
  const Expected pulled{"pulled", false};
  std::vector<Case> all{
      mirrored("dead, upstream 404", {urls.dead, urls.absent}, absent, {.on1 = outage}),
      mirrored("404, upstream dead", {urls.absent, urls.dead}, outage, {.on2 = absent}),
      mirrored("dead, upstream dead", {urls.dead, urls.dead + "/v2"}, outage),
      mirrored("dead, upstream 503", {urls.dead, urls.down}, down, {.on1 = outage}),
      mirrored("503, upstream dead", {urls.down, urls.dead}, down),
      mirrored("503, upstream 404", {urls.down, urls.absent}, absent, {.on1 = down, .on2 = down}),
      mirrored("dead, upstream 403", {urls.dead, urls.refusing}, refused, {.on1 = outage}),
      mirrored("403, upstream dead", {urls.refusing, urls.dead}, outage, {.on1 = refused, .on2 = refused}),
      mirrored("dead, upstream well", {urls.dead, ""}, pulled),
      mirrored("404, upstream well", {urls.absent, ""}, pulled),
      mirrored("503, upstream well", {urls.down, ""}, pulled),
  };
  for (auto& one : all) {
    one.sample = true;
    if (one.expected == "pulled") one.limitMs = 0;
  }
  return all;
}

std::vector<Case> hostileRows() {
  std::vector<Case> all{
      hostileImage("repository",
                   "hostile-1.test/dial/tcp/connect/connection-refused/i/o-timeout/eof/no-such-host/ROW:1"),
      hostileImage("tag", "hostile-2.test/shop/ROW:503-Service-Unavailable"),
      hostileImage("host", "connection-refused.i.o-timeout.no-such-host.eof.test/shop/ROW:1"),
      refusedWith("phrase of a 403", {.status = 403, .phrase = kWords}, "unauthorized"),
      refusedWith(
          "message of a 403",
          {.status = 403, .body = R"({"errors": [{"code": "DENIED", "message": "x\n)" + kWords + R"("}]})"},
          "unauthorized"),
      refusedWith("message of a 404",
                  {.status = 404,
                   .body = R"({"errors": [{"code": "TOOMANYREQUESTS", "message": ")" + kWords + R"("}]})"},
                  "not_found"),
      refusedWith("realm of a token", withStatus(401, "Bearer realm=\"://x: " + kWords + "\""), "unknown"),
      refusedWith("challenge", withStatus(401, kWords), "unauthorized"),
  };
  Case pod{
      .name = "hostile pod name, labels, annotations", .fault = withStatus(404), .expected = "not_found"};
  pod.changes = [](PodSpec& spec) {
    spec.name += " connect: connection refused";
    spec.labels["io.kubernetes.x"] = "failed to do request: " + kWords;
    spec.annotations["x"] = "\": failed to do request: " + kWords;
    spec.annotations[kWords] = "EOF";
  };
  all.push_back(std::move(pod));
  for (auto& one : all) one.sample = true;
  return all;
}

std::vector<Case> slowRows() {
  std::vector<Case> all{{.name = "10 s to the first byte",
                         .fault = {.delay = 10s},
                         .expected = "timeout",
                         .recovered = true,
                         .limitMs = silenceMs()}};
  if (!knowsKey("detection.responseTimeout")) return all;
  all.push_back(
      {.name = "1.5 s to each first byte", .fault = {.delay = 1500ms}, .expected = "pulled", .limitMs = 0});
  all.push_back({.name = "1.5 s to the layer's first byte",
                 .fault = {.asked = Asked::layer, .delay = 1500ms},
                 .expected = "pulled",
                 .limitMs = 0,
                 .sample = true});
  return all;
}

Case crawlingFromDockerHub() {
  return {.name = "docker.io/NAME at 50 KB/s for a minute",
          .fault = {.bytesPerSecond = 50'000},
          .expected = "pulled",
          .limitMs = 0,
          // The program itself is the rest of the 3 MB.
          .ballast = 2'000'000,
          .image = "docker.io/ROW:1.8.3",
          .hosts = {""}};
}

std::vector<Case> jobRows(const std::string& dead) {
  if (!knowsKey("workloads[].restart.policy")) return {};
  return {{.name = "a Job's pod, the workload does not say so",
           .expected = "none",
           .host = dead,
           .changes = labelAsJob,
           .sample = true},
          {.name = "a Job's pod, restart.policy OnFailure",
           .expected = "unreachable",
           .recovered = true,
           .host = dead,
           .changes = labelAsJob,
           .workload = "  restart: {policy: OnFailure}\n",
           .sample = true}};
}

}  // namespace fallbackd::e2e
