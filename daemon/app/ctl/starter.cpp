// SPDX-License-Identifier: Apache-2.0
#include "app/ctl/starter.hpp"

#include "base/strings.hpp"
#include "config/document.hpp"
#include "config/names.hpp"
#include "config/problems.hpp"
#include "config/quantity.hpp"
#include "domain/binary_ref.hpp"
#include "domain/image_reference.hpp"

#include <algorithm>
#include <array>
#include <optional>

namespace fallbackd::ctl {

namespace {

using config::Node;

/// The value of a key, or null: Kubernetes objects are read, not validated.
const Node& at(const Node& map, std::string_view key) {
  static const Node none;
  if (map.kind != Node::Kind::map) return none;
  for (std::size_t i = 0; i + 1 < map.items.size(); i += 2) {
    if (map.items[i].text == key) return map.items[i + 1];
  }
  return none;
}

const Node& at(const Node& map, std::initializer_list<std::string_view> path) {
  const Node* node = &map;
  for (const auto key : path) node = &at(*node, key);
  return *node;
}

bool there(const Node& node) {
  return node.kind != Node::Kind::null;
}

/// For a YAML file: always in quotes, which is right for every text.
std::string quote(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out.append({'\\', c});
    } else if (c == '\n') {
      out.append("\\n");
    } else if (c == '\t') {
      out.append("\\t");
    } else if (byte < 0x20 || byte == 0x7f) {
      constexpr std::string_view kHex = "0123456789abcdef";
      out.append({'\\', 'x', kHex[byte >> 4], kHex[byte & 15]});
    } else {
      out.push_back(c);
    }
  }
  return out + "\"";
}

std::string quotedList(const std::vector<std::string>& texts) {
  std::string out = "[";
  for (const auto& text : texts) out += (out.size() > 1 ? ", " : "") + quote(text);
  return out + "]";
}

/// One workload in progress: lines of YAML indented by four columns, and what a person has to decide.
class Writer {
 public:
  void line(const std::string& text) { text_ += "    " + text + "\n"; }
  void note(const std::string& text) { line("# " + oneLine(text)); }
  void open(const std::string& text) {
    note("TODO: " + text);
    ++open_;
  }
  [[nodiscard]] const std::string& text() const { return text_; }
  [[nodiscard]] int openPoints() const { return open_; }

 private:
  /// A name from the object must not end the comment.
  static std::string oneLine(std::string text) {
    std::replace_if(
        text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; }, ' ');
    return text;
  }
  std::string text_;
  int open_ = 0;
};

std::vector<std::string> textsOf(const Node& list) {
  std::vector<std::string> texts;
  for (const auto& item : list.items) texts.push_back(item.text);
  return texts;
}

/// The version in an image's tag, if it is one that a binary can have.
std::optional<std::string> versionOf(const std::string& image) {
  const auto reference = ImageReference::parse(image);
  if (!reference) return std::nullopt;
  std::string version(versionOfTag(reference->tag()));
  if (version.empty() || !parseBinaryRef("x@" + version)) return std::nullopt;
  return version;
}

struct Source {
  std::string owner;  // "deployment checkout"
  std::string name;
  std::string space;
  const Node* labels = nullptr;
  const Node* pod = nullptr;  // the pod's spec
  const Node* container = nullptr;
};

void writeMatch(const Source& source, Writer& out) {
  std::string match = "match: {";
  if (!source.space.empty()) match += "namespace: " + quote(source.space) + ", ";
  std::string labels;
  for (std::size_t i = 0; i + 1 < source.labels->items.size(); i += 2) {
    labels += (labels.empty() ? "" : ", ") + quote(source.labels->items[i].text) + ": " +
              quote(source.labels->items[i + 1].text);
  }
  if (!labels.empty()) match += "labels: {" + labels + "}, ";
  out.line(match + "container: " + quote(at(*source.container, "name").text) + "}");
  if (labels.empty())
    out.open("no labels to match: this covers every pod of the namespace with such a container");
}

void writeImage(const Source& source, Writer& out) {
  const auto& image = at(*source.container, "image").text;
  const auto& name = at(*source.container, "name").text;
  out.line("image: " + quote(image));
  const auto version = versionOf(image);
  if (!version)
    out.open("the image's tag is not a version; write the version that the binary is signed with");
  out.line("binary: " + quote(name + "@" + version.value_or("0.0.0")));
}

void writeArguments(const Source& source, Writer& out) {
  auto args = textsOf(at(*source.container, "command"));
  if (!args.empty()) {
    out.note("in the container " + fallbackd::quoted(args.front()) + " is started; here the binary is");
    args.erase(args.begin());
  }
  const auto more = textsOf(at(*source.container, "args"));
  args.insert(args.end(), more.begin(), more.end());
  const bool substituted = std::any_of(args.begin(), args.end(),
                                       [](const auto& one) { return one.find("$(") != std::string::npos; });
  if (substituted) out.open("only kubelet replaces $(NAME); write the value");
  if (!args.empty()) out.line("args: " + quotedList(args));
  if (there(at(*source.container, "workingDir"))) {
    out.line("workingDir: " + quote(at(*source.container, "workingDir").text));
  }
}

void writeEnvironment(const Source& source, Writer& out) {
  std::string env;
  for (const auto& variable : at(*source.container, "env").items) {
    const auto& name = at(variable, "name").text;
    const auto& from = at(variable, "valueFrom");
    if (!there(from)) {
      env += (env.empty() ? "" : ", ") + quote(name) + ": " + quote(at(variable, "value").text);
      continue;
    }
    const auto& kind = from.items.empty() ? std::string("valueFrom") : from.items.front().text;
    const auto& field = at(from, {"fieldRef", "fieldPath"}).text;
    constexpr std::array kSet{std::pair{"metadata.name", "POD_NAME"},
                              std::pair{"metadata.namespace", "POD_NAMESPACE"},
                              std::pair{"status.podIP", "POD_IP"}, std::pair{"spec.nodeName", "NODE_NAME"}};
    const auto known =
        std::find_if(kSet.begin(), kSet.end(), [&](const auto& one) { return field == one.first; });
    if (known != kSet.end()) {
      if (name != known->second)
        out.open("env " + name + ": every fallback gets this value as " + known->second);
      continue;
    }
    out.open("env " + name + " comes from a " + kind + ": have the program read it from a mounted file");
  }
  if (!at(*source.container, "envFrom").items.empty())
    out.open("envFrom is not taken over: write the variables, or mount them as files");
  if (!env.empty()) out.line("env: {" + env + "}");
}

void writeUser(const Source& source, Writer& out) {
  const auto value = [&](std::string_view key) -> const Node& {
    const auto& own = at(*source.container, {"securityContext", key});
    return there(own) ? own : at(*source.pod, {"securityContext", key});
  };
  const auto& uid = value("runAsUser");
  const auto& gid = value("runAsGroup");
  std::vector<std::string> groups = textsOf(at(*source.pod, {"securityContext", "supplementalGroups"}));
  if (const auto& group = at(*source.pod, {"securityContext", "fsGroup"}); there(group))
    groups.push_back(group.text);
  if (!there(uid)) {
    out.open("the pod does not set a user (its image does); the default is 65532");
  }
  if (there(uid) || !groups.empty()) {
    std::string user = "user: {";
    if (there(uid)) user += "uid: " + uid.text + ", gid: " + (there(gid) ? gid.text : uid.text);
    if (uid.text == "0") user += ", allowRoot: true";
    if (!groups.empty()) {
      std::string list;
      for (const auto& group : groups) list += (list.empty() ? "" : ", ") + group;
      user += std::string(there(uid) ? ", " : "") + "groups: [" + list + "]";
    }
    out.line(user + "}");
  }
}

void writeVolumes(const Source& source, Writer& out) {
  constexpr std::array kKinds{"configMap", "secret", "projected", "emptyDir", "downwardAPI"};
  std::string list;
  for (const auto& mount : at(*source.container, "volumeMounts").items) {
    const auto& name = at(mount, "name").text;
    const Node* volume = nullptr;
    for (const auto& one : at(*source.pod, "volumes").items) {
      if (at(one, "name").text == name) volume = &one;
    }
    const auto kind = std::find_if(kKinds.begin(), kKinds.end(), [&](const char* one) {
      return volume != nullptr && there(at(*volume, one));
    });
    const auto& path = at(mount, "mountPath").text;
    if (kind == kKinds.end()) {
      out.open("volume " + name + " at " + path + " is of a kind that fallbacks do not support");
      continue;
    }
    if (there(at(mount, "subPathExpr"))) out.open("volume " + name + ": only kubelet replaces subPathExpr");
    list += "      - {name: " + quote(name) + ", type: " + *kind + ", mountPath: " + quote(path);
    if (there(at(mount, "subPath"))) list += ", subPath: " + quote(at(mount, "subPath").text);
    const bool readOnly = at(mount, "readOnly").text == "true";
    if (readOnly && std::string_view(*kind) == "emptyDir") list += ", readOnly: true";
    list += "}\n";
  }
  if (list.empty()) return;
  out.line("volumes:");
  list.pop_back();
  out.line(list.substr(4));
}

/// The number of a port, even if a probe refers to it by name; empty if there is no such port.
std::string portOf(const Source& source, const Node& port) {
  if (!port.text.empty() && isDigit(port.text[0])) return port.text;
  for (const auto& one : at(*source.container, "ports").items) {
    if (at(one, "name").text == port.text) return at(one, "containerPort").text;
  }
  return {};
}

void writeReadiness(const Source& source, Writer& out) {
  const auto& probe = at(*source.container, "readinessProbe");
  const auto& http = at(probe, "httpGet");
  const auto& tcp = at(probe, "tcpSocket");
  const auto port = portOf(source, at(there(http) ? http : tcp, "port"));
  if (there(http) && !port.empty() && at(http, "scheme").text != "HTTPS") {
    const auto& path = at(http, "path").text;
    out.line("readiness: {http: {port: " + port + ", path: " + quote(path.empty() ? "/" : path) + "}}");
    return;
  }
  if (!port.empty()) {
    if (there(http)) out.note("the pod's own probe uses HTTPS; here the port only has to be open");
    out.line("readiness: {tcp: {port: " + port + "}}");
    return;
  }
  if (there(probe)) out.open("the readiness probe is of a kind that fallbacks do not support");
  const auto& ports = at(*source.container, "ports").items;
  if (!ports.empty() && there(at(ports.front(), "containerPort"))) {
    out.note("no probe to take over: the first port must be open");
    out.line("readiness: {tcp: {port: " + at(ports.front(), "containerPort").text + "}}");
  } else {
    out.note("no port: ready as soon as it runs");
    out.line("readiness: {exec: {}}");
  }
}

void writeLimits(const Source& source, Writer& out) {
  const auto& limits = at(*source.container, {"resources", "limits"});
  std::string text;
  if (const auto& memory = at(limits, "memory").text; config::parseBytes(memory))
    text = "memory: " + quote(memory);
  if (const auto& cpu = at(limits, "cpu").text; config::parseCpus(cpu))
    text += std::string(text.empty() ? "" : ", ") + "cpu: " + quote(cpu);
  if (!text.empty()) out.line("resources: {" + text + "}");
  const auto& grace = at(*source.pod, "terminationGracePeriodSeconds").text;
  if (!grace.empty()) out.line("terminationGrace: " + grace + "s");
  if (at(*source.container, "imagePullPolicy").text == "Always")
    out.line("detection: {imagePullPolicy: Always}");
  std::vector<std::string> before;
  for (const auto& one : at(*source.pod, "initContainers").items) {
    // A sidecar keeps running: nothing waits for its end.
    if (at(one, "restartPolicy").text != "Always") before.push_back(at(one, "name").text);
  }
  if (!before.empty()) out.line("startAfter: " + quotedList(before));
}

void nameTheRest(const Source& source, Writer& out) {
  const auto& security = at(*source.container, "securityContext");
  if (!at(security, {"capabilities", "add"}).items.empty()) {
    out.open("capabilities are not taken over: " +
             join(textsOf(at(security, {"capabilities", "add"})), ", "));
  }
  if (at(security, "privileged").text == "true") out.open("privileged: a fallback is never privileged");
  for (const char* key : {"lifecycle", "livenessProbe", "startupProbe", "volumeDevices"}) {
    if (there(at(*source.container, key))) out.note(std::string(key) + " is not taken over");
  }
  for (const char* key : {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"}) {
    if (at(*source.pod, key).text == "true") out.open(std::string(key) + ": see launcher in the reference");
  }
  if (!at(*source.pod, "imagePullSecrets").items.empty()) {
    out.note(
        "imagePullSecrets: add the credentials under registries; without them a 401 of the registry decides "
        "nothing");
  }
}

/// The pod's spec and labels, from an object that creates pods or from a pod.
void addObject(const Node& object, Starter& starter, config::Problems& problems) {
  const auto& kind = at(object, "kind").text;
  if (kind.ends_with("List")) {
    for (const auto& item : at(object, "items").items) addObject(item, starter, problems);
    return;
  }
  const Node& spec = kind == "CronJob" ? at(object, {"spec", "jobTemplate", "spec"}) : at(object, "spec");
  const Node& pod = kind == "Pod" ? spec : at(spec, {"template", "spec"});
  if (at(pod, "containers").items.empty()) {
    problems.add({"standard input", object.line, object.column},
                 kind.empty() ? "is not a Kubernetes object" : kind + " has no pod template",
                 "give it a Pod, or a Deployment, StatefulSet, DaemonSet or Job");
    return;
  }
  const Node& selector = at(spec, {"selector", "matchLabels"});
  const Node& labels = !selector.items.empty() ? selector
                       : kind == "Pod"         ? at(object, {"metadata", "labels"})
                                               : at(spec, {"template", "metadata", "labels"});
  const auto& containers = at(pod, "containers").items;
  for (const auto& container : containers) {
    Source source{kind + " " + at(object, {"metadata", "name"}).text,
                  at(object, {"metadata", "name"}).text,
                  at(object, {"metadata", "namespace"}).text,
                  &labels,
                  &pod,
                  &container};
    if (containers.size() > 1) source.name += "-" + at(container, "name").text;
    Writer out;
    writeMatch(source, out);
    writeImage(source, out);
    writeArguments(source, out);
    writeEnvironment(source, out);
    writeUser(source, out);
    writeVolumes(source, out);
    writeReadiness(source, out);
    writeLimits(source, out);
    nameTheRest(source, out);
    starter.yaml += "  # " + fallbackd::quoted(source.owner) + ", container " +
                    fallbackd::quoted(at(container, "name").text) + "\n  - name: " + quote(source.name) +
                    "\n" + out.text();
    starter.openPoints += out.openPoints();
    ++starter.workloads;
  }
}

}  // namespace

Starter makeStarter(std::string_view text) {
  Starter starter;
  config::Problems problems;
  if (const auto root = config::parseDocument("standard input", text, problems))
    addObject(*root, starter, problems);
  starter.diagnostics = problems.take();
  if (starter.workloads > 0) {
    starter.yaml =
        "# Made by fallbackctl init. Look at each TODO, then: fallbackctl check-config --config THIS FILE\n"
        "# As a drop-in (conf.d/NAME.yaml beside fallbackd.yaml) it can be used as it is.\n"
        "# A safe first day: say `mode: observe` in each workload, or in fallbackd.yaml for the whole node. "
        "Then nothing\n"
        "# is started, and fallbackctl status shows what would have been.\n"
        "apiVersion: fallbackd.io/v1\n"
        "workloads:\n" +
        starter.yaml;
  }
  return starter;
}

}  // namespace fallbackd::ctl
