{{- define "procession.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- define "procession.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "procession.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "procession.selector" -}}
app.kubernetes.io/name: {{ include "procession.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "procession.labels" -}}
{{ include "procession.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "procession.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "procession.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name: which one, if the chart creates none?" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{- define "procession.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end }}

{{- /* The least that each source works with. */ -}}
{{- define "procession.capabilities" -}}
{{- $source := get .Values.config "source" | default "auto" -}}
{{- $of := dict
  "auto" (list "BPF" "PERFMON" "SYS_PTRACE")
  "ebpf" (list "BPF" "PERFMON" "SYS_PTRACE")
  "connector" (list "NET_ADMIN" "SYS_PTRACE")
  "polling" (list "SYS_PTRACE") -}}
{{- concat (get $of $source) .Values.securityContext.extraCapabilities | uniq | toJson -}}
{{- end }}

{{- /* Whether the node's kernel keeps programs. */ -}}
{{- define "procession.pins" -}}
{{- $source := get .Values.config "source" | default "auto" -}}
{{- if and .Values.journal.enabled .Values.journal.pin (has $source (list "auto" "ebpf")) -}}true{{- end -}}
{{- end }}

{{- /* One option's value as the text of its file. Numbers come as floats, which must not become 1e+07. */ -}}
{{- define "procession.option" -}}
{{- if kindIs "slice" . -}}
  {{- $items := list -}}
  {{- $objects := false -}}
  {{- range . -}}
    {{- if kindIs "map" . -}}
      {{- $objects = true -}}
      {{- $items = append $items (toJson .) -}}
    {{- else -}}
      {{- $items = append $items (toString .) -}}
    {{- end -}}
  {{- end -}}
  {{- join (ternary "\n" "," $objects) $items -}}
{{- else if kindIs "float64" . -}}
  {{- int64 . -}}
{{- else -}}
  {{- toString . -}}
{{- end -}}
{{- end }}

{{- /* All options, as a map from name to text: what the sections set, and config. */ -}}
{{- define "procession.options" -}}
{{- $options := dict
  "server-address" (list "unix:///run/procession/procession.sock")
  "metrics-server" (printf "%s:%d" .Values.listenHost (int .Values.metrics.port)) -}}
{{- if .Values.server.port -}}
  {{- $_ := set $options "server-address" (append (get $options "server-address") (printf "%s:%d" .Values.listenHost (int .Values.server.port))) -}}
  {{- $_ := set $options "server-tls-cert-file" "/etc/procession/tls/tls.crt" -}}
  {{- $_ := set $options "server-tls-key-file" "/etc/procession/tls/tls.key" -}}
  {{- if .Values.server.tls.requireClientCert -}}
    {{- $_ := set $options "server-tls-client-ca-files" "/etc/procession/tls/ca.crt" -}}
    {{- $_ := set $options "server-tls-require-client-cert" true -}}
  {{- end -}}
{{- end -}}
{{- if .Values.runtimes.sockets -}}
  {{- $_ := set $options "runtime-socket" .Values.runtimes.sockets -}}
{{- else -}}
  {{- $_ := set $options "no-runtimes" true -}}
{{- end -}}
{{- if eq .Values.export.to "stdout" -}}
  {{- $_ := set $options "export-filename" "-" -}}
{{- else if eq .Values.export.to "file" -}}
  {{- $_ := set $options "export-filename" (printf "/var/log/procession/%s" .Values.export.file) -}}
{{- end -}}
{{- if .Values.journal.enabled -}}
  {{- $_ := set $options "journal-dir" "/var/lib/procession/journal" -}}
  {{- $_ := set $options "journal-max-size-mb" .Values.journal.maxSizeMb -}}
{{- end -}}
{{- if not (include "procession.pins" .) -}}
  {{- $_ := set $options "no-pin" true -}}
{{- end -}}
{{- range $name, $value := .Values.config -}}
  {{- $_ := set $options $name $value -}}
{{- end -}}
{{- range $name, $value := $options -}}
  {{- $_ := set $options $name (include "procession.option" $value) -}}
{{- end -}}
{{- toYaml $options -}}
{{- end }}

{{- /* What a value alone cannot show to be wrong. */ -}}
{{- define "procession.check" -}}
{{- if and (eq (get .Values.config "source" | default "auto") "connector") (not .Values.hostNetwork) -}}
  {{- fail "config.source: the proc connector works in the node's network namespace only: set hostNetwork too" -}}
{{- end -}}
{{- if and .Values.server.port (not .Values.server.tls.secretName) -}}
  {{- fail "server.port: needs server.tls.secretName, or everybody on the network would see all processes" -}}
{{- end -}}
{{- if and .Values.server.port (eq (int .Values.server.port) (int .Values.metrics.port)) -}}
  {{- fail "server.port: is metrics.port too" -}}
{{- end -}}
{{- if and .Values.networkPolicy.enabled .Values.hostNetwork -}}
  {{- fail "networkPolicy.enabled: has no effect on pods with hostNetwork" -}}
{{- end -}}
{{- end }}

{{- /* How Kubernetes before 1.30 was told. */ -}}
{{- define "procession.appArmorAnnotation" -}}
{{- if eq .type "Localhost" -}}
localhost/{{ .localhostProfile }}
{{- else -}}
{{- get (dict "Unconfined" "unconfined" "RuntimeDefault" "runtime/default") .type -}}
{{- end -}}
{{- end }}

{{- /*
The folders of runtimes' sockets: a runtime that starts again makes a new socket, which a mount of the
old one would not show. Only of a socket directly in /run the file itself, for the folder has too much.
*/ -}}
{{- define "procession.runtimeMounts" -}}
{{- $mounts := list -}}
{{- $seen := dict -}}
{{- range .Values.runtimes.sockets -}}
  {{- $path := regexReplaceAll "^[a-z]+:" . "" -}}
  {{- $type := "Directory" -}}
  {{- if has (dir $path) (list "/run" "/var/run") -}}
    {{- $type = "Socket" -}}
  {{- else -}}
    {{- $path = dir $path -}}
  {{- end -}}
  {{- if not (hasKey $seen $path) -}}
    {{- $_ := set $seen $path true -}}
    {{- $mounts = append $mounts (dict "name" (printf "runtime-%d" (len $mounts)) "path" $path "type" $type) -}}
  {{- end -}}
{{- end -}}
{{- toJson $mounts -}}
{{- end }}
