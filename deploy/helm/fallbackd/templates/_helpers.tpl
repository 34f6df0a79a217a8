{{- define "fallbackd.name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{/* Names of objects; the longest suffix is that of a dashboard. */}}
{{- define "fallbackd.fullname" -}}
{{- $name := include "fallbackd.name" . -}}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{ .Values.fullnameOverride | default $full | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "fallbackd.namespace" -}}
{{ .Values.namespaceOverride | default .Release.Namespace }}
{{- end }}

{{/*
Not empty if the namespace is an object of the release. One that somebody else made stays theirs; NOTES.txt says what it
lacks. Helm 3 refuses to create the release's own namespace, which --create-namespace has made by then.
*/}}
{{- define "fallbackd.createsNamespace" -}}
{{- if .Values.namespace.create -}}
{{- $name := include "fallbackd.namespace" . -}}
{{- $there := lookup "v1" "Namespace" "" $name -}}
{{- $ours := eq (dig "metadata" "annotations" "meta.helm.sh/release-name" "" $there) .Release.Name -}}
{{- $refused := and (eq $name .Release.Namespace) (semverCompare "<4.0.0-0" .Capabilities.HelmVersion.Version) -}}
{{- if or $ours (not (or $there $refused)) -}}yes{{- end -}}
{{- end -}}
{{- end }}

{{/* {root, suffix}: what selects the pods of one DaemonSet. */}}
{{- define "fallbackd.selector" -}}
app.kubernetes.io/name: {{ include "fallbackd.name" .root }}{{ .suffix }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{- define "fallbackd.labels" -}}
{{ include "fallbackd.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "fallbackd.image" -}}
{{- with .Values.image -}}
{{- if not .repository }}
{{- fail "image.repository is required: the registry and name under which you pushed fallbackd's image, for example --set image.repository=registry.example.com/infra/fallbackd (scripts/build-image builds it)" }}
{{- end -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{- end -}}
{{- end -}}
{{- end }}

{{/* A keyring is read without following symlinks: each key is mounted as a separate file. */}}
{{- define "fallbackd.keyMounts" -}}
{{- range $file, $pem := .Values.keys }}
- name: keys
  mountPath: /etc/fallbackd/keys/{{ $file }}
  subPath: {{ $file }}
  readOnly: true
{{- end }}
{{- end }}

{{- define "fallbackd.keysName" -}}
{{ include "fallbackd.fullname" . }}-keys-{{ .Values.keys | toYaml | sha256sum | trunc 10 }}
{{- end }}

{{/* Not empty if there is a list of revoked digests. Like a key it is one file: it is read without following symlinks. */}}
{{- define "fallbackd.revokedName" -}}
{{- with .Values.revoked -}}
{{- if and .configMap .digests }}{{ fail "revoked.digests and revoked.configMap: only one of them can be the list; put the digests into the ConfigMap, or leave it out" }}{{ end -}}
{{- if .configMap -}}{{ .configMap }}
{{- else if .digests -}}{{ include "fallbackd.fullname" $ }}-revoked-{{ .digests | toYaml | sha256sum | trunc 10 }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Not empty if there are drop-ins. */}}
{{- define "fallbackd.dropIns" -}}
{{- if or .Values.dropIns .Values.dropInConfigMaps .Values.dropInSecrets -}}/etc/fallbackd/conf.d{{- end -}}
{{- end }}

{{/* Not empty if the daemon is in the node's network: containerd must reach the mirror on the node's own loopback address. */}}
{{- define "fallbackd.inNodeNetwork" -}}
{{- if or .Values.hostNetwork .Values.mirror.enabled }}yes{{ end }}
{{- end }}

{{/*
Where page and metrics are, unless the configuration says otherwise. A value that brings the node's network along must not
open them on the node's addresses; who sets hostNetwork or wants a PodMonitor asks for that.
*/}}
{{- define "fallbackd.listen" -}}
{{- $quiet := and .Values.mirror.enabled (not .Values.hostNetwork) (not .Values.metrics.podMonitor.enabled) -}}
{{ $quiet | ternary "127.0.0.1" "0.0.0.0" }}:9477
{{- end }}

{{/* What the chart adds to the section mirror, as YAML: without a listener hosts.toml would name a port where nobody is. */}}
{{- define "fallbackd.mirrorSection" -}}
{{- if .Values.mirror.enabled }}
listen: 127.0.0.1:478
{{- if ne .Values.mirror.containerdConfig "/etc/containerd" }}
hostsDir: {{ .Values.mirror.containerdConfig }}/certs.d
{{- end }}
{{- end }}
{{- end }}

{{/* The folder of hosts.toml files. */}}
{{- define "fallbackd.hostsDir" -}}
{{- $mirror := (include "fallbackd.config" . | fromYaml).mirror | default dict -}}
{{- $written := (.Values.configFile | empty | ternary .Values.config (fromYaml .Values.configFile)).mirror | default dict -}}
{{- if and (hasKey $written "listen") (has ($written.listen | toString) (list "off" "false")) }}{{ fail "config.mirror.listen: off, and mirror.enabled=true would have containerd ask there; set one of them" }}{{ end -}}
{{ $mirror.hostsDir | default "/etc/containerd/certs.d" }}
{{- end }}

{{/* Not empty if the chart has something to add to the text of configFile. */}}
{{- define "fallbackd.completesMirror" -}}
{{- if .Values.configFile }}
{{- $mirror := (fromYaml .Values.configFile).mirror | default dict -}}
{{- range $key, $value := include "fallbackd.mirrorSection" . | fromYaml }}{{ if not (hasKey $mirror $key) }}yes{{ end }}{{ end -}}
{{- end }}
{{- end }}

{{/* The configuration as YAML. What the chart mounts is added where the configuration does not name it itself. */}}
{{- define "fallbackd.config" -}}
{{- $config := .Values.configFile | empty | ternary .Values.config (fromYaml .Values.configFile) | deepCopy -}}
{{- with $config.Error }}{{ fail (printf "configFile: %s" .) }}{{ end -}}
{{- $added := dict -}}
{{- if .Values.tls.secretName }}
{{- $_ := mergeOverwrite $added (dict "telemetry" (dict "tls" (dict "certificate" "/etc/fallbackd/tls/tls.crt" "key" "/etc/fallbackd/tls/tls.key"))) }}
{{- end -}}
{{- if .Values.token.secretName }}
{{- $_ := mergeOverwrite $added (dict "telemetry" (dict "tokenFile" (printf "/etc/fallbackd/token/%s" .Values.token.key))) }}
{{- end -}}
{{- if include "fallbackd.revokedName" . }}
{{- $_ := mergeOverwrite $added (dict "cache" (dict "revoked" "/etc/fallbackd/revoked")) }}
{{- end -}}
{{- with include "fallbackd.mirrorSection" . | fromYaml }}
{{- $_ := mergeOverwrite $added (dict "mirror" .) }}
{{- end -}}
{{- if not .Values.configFile }}
{{- $_ := mergeOverwrite $added (dict "telemetry" (dict "listen" (include "fallbackd.listen" .))) }}
{{- end -}}
{{- toYaml (merge $config $added) -}}
{{- end }}

{{/* What the ConfigMap has: the text of configFile as it was written, if nothing has to be added to it. */}}
{{- define "fallbackd.configText" -}}
{{- $added := or .Values.tls.secretName .Values.token.secretName (include "fallbackd.revokedName" .) (include "fallbackd.completesMirror" .) -}}
{{- if and .Values.configFile (not $added) -}}
{{ .Values.configFile | trimSuffix "\n" }}
{{- else -}}
{{ include "fallbackd.config" . }}
{{- end -}}
{{- end }}

{{/* Where page, metrics and probes are, as YAML: port, scheme, and the host that the probes need. */}}
{{- define "fallbackd.telemetry" -}}
{{- $telemetry := (include "fallbackd.config" . | fromYaml).telemetry | default dict -}}
{{- $listen := $telemetry.listen | default (include "fallbackd.listen" .) | toString -}}
{{- if eq $listen "off" }}{{ fail "config.telemetry.listen: kubelet's probes need an address, not off" }}{{ end -}}
{{- $loopback := regexMatch "^(127\\.|\\[::1\\])" $listen -}}
{{- if and $loopback (not (include "fallbackd.inNodeNetwork" .)) }}
{{- fail (printf "config.telemetry.listen: kubelet's probes do not reach %s in the pod; set it to 0.0.0.0:9477, or hostNetwork=true" $listen) }}
{{- end -}}
port: {{ regexFind "[0-9]+$" $listen }}
scheme: {{ empty $telemetry.tls | ternary "HTTP" "HTTPS" }}
{{- /* Without the brackets of an IPv6 address: kubelet adds its own. */}}
host: {{ $loopback | ternary (regexReplaceAll ":[0-9]+$" $listen "" | trimAll "[]") "" | quote }}
socket: {{ $telemetry.socket | default "/run/fallbackd/fallbackd.sock" }}
{{- end }}

{{/* {telemetry, path} */}}
{{- define "fallbackd.probe" -}}
httpGet: {path: {{ .path }}, port: metrics{{ if ne .telemetry.scheme "HTTP" }}, scheme: {{ .telemetry.scheme }}{{ end }}{{ with .telemetry.host }}, host: {{ . | quote }}{{ end }}}
{{- end }}

{{/* Where on every node it runs, and before whom. */}}
{{- define "fallbackd.placement" -}}
serviceAccountName: {{ include "fallbackd.fullname" . }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "fallbackd.updateStrategy" -}}
{{- if .Values.updateStrategy }}
{{- toYaml .Values.updateStrategy }}
{{- else -}}
type: RollingUpdate
rollingUpdate:
  maxUnavailable: {{ .Values.maxUnavailable }}
{{- end }}
{{- end }}

{{/* Mounts of what the configuration is made of, without the keys; the pod of `helm test` reads it, too. */}}
{{- define "fallbackd.configMounts" -}}
- {name: config, mountPath: /etc/fallbackd/config, readOnly: true}
{{- with include "fallbackd.dropIns" . }}
- {name: drop-ins, mountPath: {{ . }}, readOnly: true}
{{- end }}
{{- end }}

{{- define "fallbackd.configVolumes" -}}
- name: config
  configMap: {name: {{ include "fallbackd.fullname" . }}}
{{- if include "fallbackd.dropIns" . }}
- name: drop-ins
  projected:
    sources:
      {{- if .Values.dropIns }}
      - configMap: {name: {{ include "fallbackd.fullname" . }}-drop-ins}
      {{- end }}
      {{- range .Values.dropInConfigMaps }}
      - configMap: {name: {{ . | squote }}, optional: true}
      {{- end }}
      {{- range .Values.dropInSecrets }}
      - secret: {name: {{ . | squote }}, optional: true}
      {{- end }}
{{- end }}
{{- end }}

{{/* Not empty if the configuration names kubelet as a source of pods. */}}
{{- define "fallbackd.asksKubelet" -}}
{{- $sources := dig "kubernetes" "sources" list (include "fallbackd.config" . | fromYaml) -}}
{{- if and .Values.kubernetes.enabled (has "kubelet" ($sources | default list)) }}yes{{ end }}
{{- end }}

{{/* Not empty if the daemon needs the API server, and so a token. */}}
{{- define "fallbackd.asksApiServer" -}}
{{- if or .Values.kubernetes.enabled .Values.kubernetes.events.enabled .Values.kubernetes.namespacePause }}yes{{ end }}
{{- end }}
