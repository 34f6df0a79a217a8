// SPDX-License-Identifier: Apache-2.0
#include "app/ctl/starter.hpp"

#include "app/ctl/workload_lines.hpp"
#include "base/strings.hpp"
#include "config/validate.hpp"
#include "domain/image_reference.hpp"
#include "kube/inherit.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <variant>

namespace fallbackd::ctl {

namespace {

using coverage::Template;
using Weight = kube::NotInherited::Weight;

/// The token's volume that the API server adds to each pod, under a different name each.
constexpr std::string_view kTokenVolume = "kube-api-access-";

bool isBinaryName(const std::string& name) {
  return parseBinaryRef(name + "@1").has_value();
}

/// A name that a binary can have: "-v2" at its end would look like a version.
std::string binaryName(std::string name) {
  for (std::size_t at = name.find("-v"); at != std::string::npos && !isBinaryName(name);
       at = name.find("-v", at)) {
    name.erase(at + 1, 1);
  }
  return name;
}

/// The version in an image's tag, if it is one that a binary can have.
std::optional<std::string> versionOf(const std::string& image) {
  const auto reference = ImageReference::parse(image);
  if (!reference) return std::nullopt;
  std::string version(versionOfTag(reference->tag()));
  // Tags cannot have a +, so tools write _ in its place.
  std::replace(version.begin(), version.end(), '_', '+');
  if (version.empty() || !parseBinaryRef("x@" + version)) return std::nullopt;
  return version;
}

/// The field of its own pod that a variable gets: it differs in each pod.
const std::string* ownField(const kube::EnvVar& variable) {
  if (!variable.value.empty()) return nullptr;
  const auto* const field = std::get_if<kube::FieldRef>(&variable.valueFrom);
  if (field == nullptr || field->fieldPath.starts_with("metadata.labels") ||
      field->fieldPath.starts_with("metadata.annotations") || field->fieldPath == "metadata.namespace" ||
      field->fieldPath == "spec.serviceAccountName") {
    return nullptr;
  }
  return &field->fieldPath;
}

/// A container of an object, on its way to a workload.
struct Draft {
  const Template& from;
  kube::Container container;
  std::string name;  // of the workload
  config::Match match;
  BinaryRef binary;
  bool versionKnown = true;
};

class StarterMaker {
 public:
  StarterMaker(const std::vector<Template>& templates, const StarterOptions& options)
      : templates_(templates), options_(options) {}

  Starter make() {
    for (const auto& one : templates_) {
      for (const auto& container : one.pod.containers) countName(container);
      for (const auto& container : one.pod.initContainers) countName(container);
    }
    for (const auto& one : templates_) {
      for (const auto& container : one.pod.initContainers) {
        if (kube::isSidecar(container)) add(one, container);
      }
      for (const auto& container : one.pod.containers) add(one, container);
    }
    if (out_.workloads > 0) out_.yaml = head() + out_.yaml;
    return std::move(out_);
  }

 private:
  [[nodiscard]] std::string head() const {
    const bool whole = options_.form == StarterOptions::Form::whole;
    return std::string(
               "# Made by fallbackctl init. Look at each TODO, then: fallbackctl check-config --config THIS "
               "FILE\n"
               "# As a drop-in (conf.d/NAME.yaml beside fallbackd.yaml) it can be used as it is.\n") +
           (whole ? ""
                  : "# It needs kubernetes.sources in fallbackd.yaml: the pods' specifications have the "
                    "rest.\n") +
           "# A safe first day: set `mode: observe` in each workload, or in fallbackd.yaml for the whole "
           "node. "
           "Then nothing\n"
           "# is started, and fallbackctl status and fallbackctl coverage show what would have been.\n"
           "# No fallback has: a writable root besides /tmp and the volumes; variables of the namespace's "
           "Services\n"
           "# (except KUBERNETES_*); the service account's token, unless a TODO asks for it.\n"
           "apiVersion: fallbackd.io/v1\n"
           "workloads:\n";
  }

  static std::string repositoryOf(const std::string& image) {
    const auto reference = ImageReference::parse(image);
    return reference ? reference->repository() : image;
  }

  void countName(const kube::Container& container) {
    repositories_[container.name].insert(repositoryOf(container.image));
  }

  /// The container's name, or the image's if containers of that name run different programs.
  std::string nameOfBinary(const Template& from, const kube::Container& container) {
    auto name = container.name;
    const auto repository = repositoryOf(container.image);
    if (repositories_[container.name].size() > 1) name = repository.substr(repository.rfind('/') + 1);
    name = binaryName(std::move(name));
    if (!isBinaryName(name)) name = binaryName(container.name);
    for (const auto& other :
         {name, from.name + "-" + name, from.name + "-" + from.pod.namespaceName + "-" + name}) {
      const auto [found, fresh] = programs_.emplace(other, repository);
      if (fresh || found->second == repository) return other;
    }
    return name;
  }

  std::string nameOfWorkload(const Template& from, const kube::Container& container) {
    auto base = from.name;
    if (from.pod.containers.size() + sidecars(from) > 1) base += "-" + container.name;
    // Names of objects may have dots, and be long.
    std::replace(base.begin(), base.end(), '.', '-');
    constexpr std::size_t kRoom = 50;
    if (base.size() > kRoom) base.resize(kRoom);
    while (base.ends_with('-')) base.pop_back();
    auto name = base;
    if (names_.contains(name)) name = base + "-" + from.pod.namespaceName;
    for (int i = 2; names_.contains(name); ++i) name = base + "-" + std::to_string(i);
    names_.insert(name);
    return name;
  }

  static std::size_t sidecars(const Template& from) {
    const auto& all = from.pod.initContainers;
    return static_cast<std::size_t>(std::count_if(all.begin(), all.end(), kube::isSidecar));
  }

  void add(const Template& from, const kube::Container& container) {
    config::Match match{from.pod.namespaceName, from.matchLabels, container.name};
    const auto title = fallbackd::quoted(from.owner()) + ", container " + fallbackd::quoted(container.name);
    for (const auto& [other, name] : matches_) {
      if (!config::overlap(match, other)) continue;
      ++out_.openPoints;
      out_.yaml += "  # TODO: " + title + " is left out: workload " + name +
                   " can cover the same container; distinguish their pods by a label\n";
      return;
    }
    Draft draft{from, container, nameOfWorkload(from, container), std::move(match), {}, true};
    matches_.emplace_back(draft.match, draft.name);
    const auto version = versionOf(container.image);
    draft.versionKnown = version.has_value();
    draft.binary = {nameOfBinary(from, container), version.value_or("0.0.0")};
    WorkloadLines lines;
    write(draft, lines);
    out_.yaml += "  # " + title + "\n  - name: " + yamlQuoted(draft.name) + "\n" + lines.text();
    out_.openPoints += lines.openPoints();
    ++out_.workloads;
  }

  void writeMatch(const Draft& draft, WorkloadLines& out) const {
    std::string labels;
    for (const auto& [key, value] : draft.match.labels)
      labels += (labels.empty() ? "" : ", ") + yamlQuoted(key) + ": " + yamlQuoted(value);
    out.line("match: {namespace: " + yamlQuoted(*draft.match.namespaceName) + ", " +
             (labels.empty() ? "" : "labels: {" + labels + "}, ") +
             "container: " + yamlQuoted(draft.container.name) + "}");
    if (labels.empty()) {
      out.open("no labels to match: this covers every pod of the namespace with such a container");
    }
    if (draft.from.namespaceName.empty() && !options_.namespaceGiven) {
      out.open("the object names no namespace; write the one where it is installed (or give --namespace)");
    }
  }

  void write(const Draft& draft, WorkloadLines& out) const {
    writeMatch(draft, out);
    const bool whole = options_.form == StarterOptions::Form::whole;
    if (whole) out.line("image: " + yamlQuoted(draft.container.image));
    if (!draft.versionKnown) {
      out.open("the image's tag is not a version; write the version that the binary is signed with");
      if (!whole) out.note("and set how pods state it: versionFrom, or versionMatch: none");
    }
    out.line("binary: " + yamlQuoted(draft.binary.toString()));
    if (draft.binary.name != draft.container.name) {
      out.note("the binary does not have its container's name, because other programs have it");
    }
    if (draft.from.ofJob) {
      out.open(
          "a pod of a Job: the end of its fallback counts as the end of its work; keep restart.policy only "
          "if "
          "that is right");
    }
    if (whole) {
      writeWhole(draft, out);
    } else {
      writeShort(draft, out);
    }
  }

  /// The pod without what is different in each pod of the object, which the configuration cannot express.
  static kube::Pod common(const Draft& draft) {
    auto pod = draft.from.pod;
    std::erase_if(pod.volumes, [](const auto& one) { return one.name.starts_with(kTokenVolume); });
    for (auto* list : {&pod.containers, &pod.initContainers}) {
      for (auto& container : *list) {
        std::erase_if(container.volumeMounts,
                      [](const auto& one) { return one.name.starts_with(kTokenVolume); });
        for (auto& variable : container.env) {
          if (ownField(variable) != nullptr) variable.valueFrom = kube::UnknownSource{"fieldRef"};
        }
      }
    }
    return pod;
  }

  [[nodiscard]] Result<kube::Inherited> inherit(const Draft& draft, const kube::Pod& pod) const {
    config::Workload configured;
    configured.name = draft.name;
    configured.match = draft.match;
    configured.binary = draft.binary;
    const auto uid = draft.container.securityContext.runAsUser;
    configured.user.allowRoot = uid.value_or(draft.from.pod.securityContext.runAsUser.value_or(1)) == 0;
    if (draft.from.ofJob) {
      configured.restart.policy =
          pod.restartPolicy == "Never" ? config::RestartPolicy::never : config::RestartPolicy::on_failure;
    }
    return kube::inherit({pod, draft.container.name, configured, options_.launcher, kube::Facts{}, {}});
  }

  void writeWhole(const Draft& draft, WorkloadLines& out) const {
    const auto pod = common(draft);
    const auto inherited = inherit(draft, pod);
    if (!inherited) return out.open(inherited.error().context);
    writeWorkload(inherited->workload, out);
    if (inherited->workload.user.uid == 0)
      out.open("the fallback is root, like the container: allowRoot allows it");
    writeVariables(draft, out);
    for (const auto& one : inherited->notInherited) {
      if (isOwnVariable(draft, one) || isOfEach(one)) continue;
      const bool undecided = one.weight != Weight::differs || one.why.starts_with("the user is not known");
      const auto text = one.path + ": " + one.why;
      undecided ? out.open(text) : out.note(text);
    }
    if (pod.securityContext.seLinuxOptions && !draft.container.securityContext.seLinuxOptions) {
      out.note(
          "spec.securityContext.seLinuxOptions: the sandbox has their label, and a fallback has the "
          "sandbox's");
    }
    writeOrder(draft, inherited->sidecarsBefore, out);
    writeToken(draft, out);
    writePorts(draft, out);
  }

  void writeShort(const Draft& draft, WorkloadLines& out) const {
    const auto inherited = inherit(draft, draft.from.pod);
    if (!inherited) return out.open(inherited.error().context);
    if (draft.from.ofJob) {
      out.line(std::string("restart: {policy: ") +
               (inherited->workload.restart.policy == config::RestartPolicy::never ? "Never" : "OnFailure") +
               "}");
    }
    if (inherited->workload.user.uid == 0) {
      out.line("user: {allowRoot: true}");
      out.open("the fallback is root, like the container: allowRoot allows it");
    }
    for (const auto& one : inherited->notInherited) {
      // Addresses are known when a fallback starts.
      if (one.weight == Weight::differs || one.why.find("the address of the") != std::string::npos) continue;
      out.open("no fallback starts with this, unless the workload sets something else for it: " + one.path +
               ": " + one.why);
    }
    writeOrder(draft, {}, out);
    if (draft.from.ofJob) return;
    out.note("Instead of this workload, in the pod template of " + draft.from.owner() +
             ", where podAnnotations.namespaces lists " + draft.from.pod.namespaceName + ":");
    out.note("  fallbackd.io/binary." + draft.container.name + ": " + draft.binary.toString());
  }

  /// What the head of the file says once for all workloads.
  static bool isOfEach(const kube::NotInherited& one) {
    return one.weight == Weight::differs && (one.path.ends_with("securityContext.readOnlyRootFilesystem") ||
                                             one.path == "spec.enableServiceLinks");
  }

  static bool isOwnVariable(const Draft& draft, const kube::NotInherited& one) {
    for (std::size_t i = 0; i < draft.container.env.size(); ++i) {
      if (ownField(draft.container.env[i]) != nullptr &&
          one.path == draft.container.path + ".env[" + std::to_string(i) + "]") {
        return true;
      }
    }
    return false;
  }

  static void writeVariables(const Draft& draft, WorkloadLines& out) {
    constexpr std::array kSet{std::pair{"metadata.name", "POD_NAME"},
                              std::pair{"metadata.namespace", "POD_NAMESPACE"},
                              std::pair{"status.podIP", "POD_IP"}, std::pair{"spec.nodeName", "NODE_NAME"}};
    for (const auto& variable : draft.container.env) {
      const auto* const field = ownField(variable);
      if (field == nullptr) continue;
      const auto* const known =
          std::find_if(kSet.begin(), kSet.end(), [&](const auto& one) { return *field == one.first; });
      if (known == kSet.end()) {
        out.open("variable " + fallbackd::quoted(variable.name) + ": " + *field +
                 " is different in each pod, which a workload cannot express; with kubernetes.sources it is "
                 "taken from "
                 "the pod");
      } else if (variable.name != known->second) {
        out.open("variable " + fallbackd::quoted(variable.name) + ": every fallback has this value as " +
                 known->second);
      }
    }
  }

  /// What the container waits for, and what would keep it waiting in the same outage.
  static void writeOrder(const Draft& draft, const std::vector<std::string>& sidecarsBefore,
                         WorkloadLines& out) {
    const auto own = ImageReference::parse(draft.container.image);
    for (const auto& one : draft.from.pod.initContainers) {
      if (one.name == draft.container.name) break;
      const auto image = ImageReference::parse(one.image);
      if (kube::isSidecar(one) || !own || !image || own->host() != image->host()) continue;
      out.note("init container " + fallbackd::quoted(one.name) + " comes from the same registry, " +
               image->host() +
               ": while that is down, a pod whose node does not have its image waits for it, and no fallback "
               "takes its place");
    }
    for (const auto& name : sidecarsBefore)
      out.note("the sidecar " + fallbackd::quoted(name) +
               " starts before; it does not end, so nothing waits for that");
  }

  void writeToken(const Draft& draft, WorkloadLines& out) const {
    const auto& from = draft.from;
    const auto& mounts = draft.container.volumeMounts;
    const bool mounted = std::any_of(mounts.begin(), mounts.end(),
                                     [](const auto& one) { return one.name.starts_with(kTokenVolume); });
    if (from.refusesToken) return;
    if (!from.asksForToken && !mounted) return;
    out.open(
        "the service account's token, at /var/run/secrets/kubernetes.io/serviceaccount: its volume has "
        "another "
        "name in each pod, which a workload cannot express; with kubernetes.sources it is taken from the "
        "pod");
  }

  static void writePorts(const Draft& draft, WorkloadLines& out) {
    const auto& container = draft.container;
    if (container.readinessProbe || container.startupProbe) return;
    std::string ports;
    for (const auto& one : container.ports) {
      if (!one.protocol.empty() && one.protocol != "TCP") continue;
      ports += (ports.empty() ? "" : ", ") + std::to_string(one.containerPort);
    }
    out.note("no probe: it is ready as soon as it runs" +
             (ports.empty() ? std::string() : "; readiness: {tcp: {port: PORT}} waits for one of " + ports));
  }

  const std::vector<Template>& templates_;
  const StarterOptions& options_;
  Starter out_;
  std::set<std::string> names_;
  std::map<std::string, std::set<std::string>> repositories_;  // by container name
  std::map<std::string, std::string> programs_;                // repository by binary name
  std::vector<std::pair<config::Match, std::string>> matches_;
};

}  // namespace

Starter makeStarter(const std::vector<Template>& templates, const StarterOptions& options) {
  return StarterMaker(templates, options).make();
}

}  // namespace fallbackd::ctl
