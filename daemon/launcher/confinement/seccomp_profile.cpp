// SPDX-License-Identifier: Apache-2.0
#include "base/strings.hpp"
#include "launcher/confinement/seccomp.hpp"
#include "launcher/confinement/seccomp_program.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <utility>

#include <boost/json.hpp>

namespace fallbackd::launcher {

namespace {

namespace json = boost::json;

constexpr std::size_t kMaxRules = 4096;

tl::unexpected<Error> wrong(std::string what) {
  return fail(Stage::identity, Reason::invalid, std::move(what));
}

struct ActionName {
  std::string_view name;
  std::uint32_t action;
};

Result<std::uint32_t> actionOf(const json::object& object, std::string_view key, std::string_view errnoKey) {
  static const std::array kActions{ActionName{"SCMP_ACT_KILL", SCMP_ACT_KILL_THREAD},
                                   ActionName{"SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD},
                                   ActionName{"SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS},
                                   ActionName{"SCMP_ACT_TRAP", SCMP_ACT_TRAP},
                                   ActionName{"SCMP_ACT_LOG", SCMP_ACT_LOG},
                                   ActionName{"SCMP_ACT_ALLOW", SCMP_ACT_ALLOW}};
  const auto* value = object.if_contains(key);
  const auto* name = value == nullptr ? nullptr : value->if_string();
  if (name == nullptr) return wrong(std::string(key) + " is missing or not a string");
  if (*name == "SCMP_ACT_ERRNO") {
    const auto* number = object.if_contains(errnoKey);
    if (number == nullptr) return SCMP_ACT_ERRNO(EPERM);
    if (!number->is_int64() || number->get_int64() < 0 || number->get_int64() > 4095) {
      return wrong(std::string(errnoKey) + " is not an errno");
    }
    return SCMP_ACT_ERRNO(static_cast<std::uint16_t>(number->get_int64()));
  }
  const auto found = std::find_if(kActions.begin(), kActions.end(),
                                  [&](const ActionName& one) { return one.name == std::string_view(*name); });
  // Tracing and notification need a supervisor that answers; here there is none.
  if (found == kActions.end())
    return wrong(fallbackd::quoted(std::string(*name)) + " is not an action that fallbackd supports");
  return found->action;
}

Result<scmp_compare> operatorOf(std::string_view name) {
  constexpr std::array<std::pair<std::string_view, scmp_compare>, 7> kOperators{
      {{"SCMP_CMP_NE", SCMP_CMP_NE},
       {"SCMP_CMP_LT", SCMP_CMP_LT},
       {"SCMP_CMP_LE", SCMP_CMP_LE},
       {"SCMP_CMP_EQ", SCMP_CMP_EQ},
       {"SCMP_CMP_GE", SCMP_CMP_GE},
       {"SCMP_CMP_GT", SCMP_CMP_GT},
       {"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ}}};
  const auto found =
      std::find_if(kOperators.begin(), kOperators.end(), [&](const auto& one) { return one.first == name; });
  if (found == kOperators.end()) return wrong(fallbackd::quoted(std::string(name)) + " is not a comparison");
  return found->second;
}

Result<scmp_arg_cmp> comparisonOf(const json::value& value) {
  const auto* object = value.if_object();
  if (object == nullptr) return wrong("an entry of args is not an object");
  const auto number = [&](std::string_view key) -> std::optional<std::uint64_t> {
    const auto* found = object->if_contains(key);
    if (found == nullptr) return 0;
    json::error_code error;
    const auto read = found->to_number<std::uint64_t>(error);
    return error ? std::nullopt : std::optional(read);
  };
  const auto* op = object->if_contains("op");
  const auto index = number("index");
  const auto first = number("value");
  const auto second = number("valueTwo");
  if (op == nullptr || !op->is_string() || !index || *index > 5 || !first || !second) {
    return wrong("an entry of args lacks a valid index, value or op");
  }
  FB_TRY(const auto compare, operatorOf(op->get_string()));
  return scmp_arg_cmp{static_cast<unsigned>(*index), compare, *first, *second};
}

class Compiler {
 public:
  explicit Compiler(SeccompContext context, std::uint32_t defaultAction)
      : context_(std::move(context)), defaultAction_(defaultAction) {}

  Result<> addSyscalls(const json::array& list) {
    if (list.size() > kMaxRules)
      return wrong("more than " + std::to_string(kMaxRules) + " entries in syscalls");
    for (const auto& entry : list) {
      if (!entry.is_object()) return wrong("an entry of syscalls is not an object");
      FB_CHECK(addEntry(entry.get_object()));
    }
    return {};
  }

  Result<std::string> finish() {
    // Regardless of the profile: this call starts the binary.
    if (defaultAction_ != SCMP_ACT_ALLOW) FB_CHECK(addRule(SCMP_ACT_ALLOW, SCMP_SYS(execveat), {}));
    const bool denies = (defaultAction_ & 0xffff0000U) == SCMP_ACT_ERRNO(0);
    return exportProgram(context_, denies && newest_ > 0
                                       ? denyCallsFrom(static_cast<std::uint32_t>(newest_) + 1)
                                       : std::vector<sock_filter>{});
  }

 private:
  Result<> addEntry(const json::object& entry) {
    for (const std::string_view key : {"includes", "excludes"}) {
      const auto* value = entry.if_contains(key);
      if (value != nullptr && value->is_object() && !value->get_object().empty()) {
        return wrong("syscalls have " + std::string(key) +
                     ", which Docker's profiles know and the OCI specification does not: write one entry for "
                     "each case");
      }
    }
    FB_TRY(const auto action, actionOf(entry, "action", "errnoRet"));
    std::vector<scmp_arg_cmp> comparisons;
    if (const auto* args = entry.if_contains("args"); args != nullptr && args->is_array()) {
      for (const auto& arg : args->get_array()) {
        FB_TRY(const auto comparison, comparisonOf(arg));
        comparisons.push_back(comparison);
      }
    }
    const auto* names = entry.if_contains("names");
    if (names == nullptr || !names->is_array()) return wrong("an entry of syscalls lacks a list of names");
    for (const auto& name : names->get_array()) {
      if (!name.is_string()) return wrong("a name in syscalls is not a string");
      FB_CHECK(addCall(std::string(name.get_string()), action, comparisons));
    }
    return {};
  }

  Result<> addCall(const std::string& name, std::uint32_t action,
                   const std::vector<scmp_arg_cmp>& comparisons) {
    const int number = ::seccomp_syscall_resolve_name(name.c_str());
    if (number < 0 || name == "execveat") return {};
    newest_ = std::max(newest_, number);
    if (action == defaultAction_) return {};  // the library refuses rules that change nothing
    // For runtimes, two comparisons of one argument are alternatives; the library would combine them with
    // "and".
    std::set<unsigned> indexes;
    for (const auto& one : comparisons) indexes.insert(one.arg);
    if (indexes.size() == comparisons.size()) return addRule(action, number, comparisons);
    for (const auto& one : comparisons) FB_CHECK(addRule(action, number, {one}));
    return {};
  }

  Result<> addRule(std::uint32_t action, int number, const std::vector<scmp_arg_cmp>& comparisons) {
    const int code = ::seccomp_rule_add_array(context_.get(), action, number,
                                              static_cast<unsigned>(comparisons.size()), comparisons.data());
    if (code == 0 || code == -EEXIST) return {};
    return fail(Stage::identity, Reason::invalid, "rule for system call " + std::to_string(number), -code);
  }

  SeccompContext context_;
  std::uint32_t defaultAction_;
  int newest_ = 0;
};

/// In addition to the native one; the library's default kills programs of other architectures.
Result<> addArchitectures(const SeccompContext& context, const json::object& root) {
  const auto* value = root.if_contains("architectures");
  const auto* list = value == nullptr ? nullptr : value->if_array();
  if (list == nullptr) return {};
  for (const auto& item : *list) {
    const auto* text = item.if_string();
    if (text == nullptr || !text->starts_with("SCMP_ARCH_"))
      return wrong("architectures contains something other than SCMP_ARCH_ names");
    std::string name(text->subview(10));
    std::transform(name.begin(), name.end(), name.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
    const auto token = ::seccomp_arch_resolve_name(name.c_str());
    if (token == 0) return wrong(fallbackd::quoted(std::string(*text)) + " is not an architecture");
    const int code = ::seccomp_arch_add(context.get(), token);
    if (code != 0 && code != -EEXIST)
      return fail(Stage::identity, Reason::invalid, "add " + std::string(*text), -code);
  }
  return {};
}

}  // namespace

Result<std::string> compileFilterProfile(std::string_view text) {
  json::error_code error;
  const auto value = json::parse({text.data(), text.size()}, error);
  if (error || !value.is_object()) return wrong("not a JSON object");
  const auto& root = value.get_object();
  FB_TRY(const auto action, actionOf(root, "defaultAction", "defaultErrnoRet"));
  SeccompContext context(::seccomp_init(action));
  if (context == nullptr) return fail(Stage::identity, Reason::system, "start a seccomp filter");
  ::seccomp_attr_set(context.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);
  FB_CHECK(addArchitectures(context, root));
  Compiler compiler(std::move(context), action);
  if (const auto* list = root.if_contains("syscalls")) {
    if (!list->is_array()) return wrong("syscalls is not a list");
    FB_CHECK(compiler.addSyscalls(list->get_array()));
  }
  return compiler.finish();
}

}  // namespace fallbackd::launcher
